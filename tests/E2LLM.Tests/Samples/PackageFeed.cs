using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>
/// Packages made from this checkout in a folder of their own, as a package source. Under a version that no cache can hold. Deleted when disposed.
/// </summary>
internal sealed class PackageFeed : IDisposable
{
    private static readonly TimeSpan RegistryLimit = TimeSpan.FromMinutes(4);
    private readonly TemporaryFolder _folder = new();

    /// <summary>Holds the packages in <c>feed</c> and all that is made with them.</summary>
    public string Folder => _folder.Path;

    public string Version { get; } = $"0.1.0-test.{DateTimeOffset.UtcNow.ToUnixTimeMilliseconds()}";

    /// <summary>What a package manager is told, so that it leaves the machine's own caches as they are.</summary>
    public Dictionary<string, string?> Environment => new(StringComparer.Ordinal)
    {
        ["NUGET_PACKAGES"] = Path.Combine(Folder, "packages"),

        // The test runner's own settings are none of a new project's.
        ["MSBuildSDKsPath"] = null,
        ["MSBuildExtensionsPath"] = null,
    };

    /// <summary>Packs projects as they were built with the tests.</summary>
    public static async Task<PackageFeed> PackAsync(params string[] projects)
    {
        var feed = new PackageFeed();
        try
        {
            foreach (string project in projects)
            {
                (await SampleRun.OfProgram("dotnet", [
                    "pack", Repository.PathOf(project), "-c", SampleRun.Configuration, "--no-build", "-v", "q", "-o", Path.Combine(feed.Folder, "feed"), $"-p:PackageVersion={feed.Version}",
                ])).Succeeded();
            }

            return feed;
        }
        catch
        {
            feed.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Runs <c>dotnet</c> with arguments that make it ask the machine's own package sources, too. Null when that went well; where the sources do not answer, not in
    /// time, or do not have what others made, what is missing; anything else fails.
    /// </summary>
    public async Task<string?> AskRegistryAsync(string folder, params string[] args)
    {
        SampleRun run;
        try
        {
            run = await SampleRun.OfProgram("dotnet", args, folder, Environment, RegistryLimit);
        }
        catch (TimeoutException)
        {
            return $"the package sources have not answered 'dotnet {args[0]}' within {RegistryLimit.TotalMinutes} minutes";
        }

        // NU1301: a source does not answer. NU1101: it does not have the package.
        string said = run.Out + run.Error;
        if (run.ExitCode != 0 && (said.Contains("NU1301", StringComparison.Ordinal)
            || (said.Contains("NU1101", StringComparison.Ordinal) && !said.Contains("package E2LLM", StringComparison.Ordinal))))
        {
            return $"'dotnet {args[0]}' cannot be done: no package source has what it asks for";
        }

        run.Succeeded();
        return null;
    }

    public void Dispose() => _folder.Dispose();
}
