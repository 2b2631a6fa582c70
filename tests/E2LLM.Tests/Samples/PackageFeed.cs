using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>
/// Packages made from this checkout in a folder of their own, as a package source. Under a version that no cache can hold. Deleted when disposed.
/// </summary>
internal sealed class PackageFeed : IDisposable
{
    private PackageFeed(string folder, string version) => (Folder, Version) = (folder, version);

    /// <summary>Holds the packages in <c>feed</c> and all that is made with them.</summary>
    public string Folder { get; }

    public string Version { get; }

    /// <summary>What a package manager is told, so that it leaves the machine's own caches as they are.</summary>
    public Dictionary<string, string?> Environment => new(StringComparer.Ordinal)
    {
        ["NUGET_PACKAGES"] = Path.Combine(Folder, "packages"),
        ["DOTNET_CLI_TELEMETRY_OPTOUT"] = "1",
        ["DOTNET_NOLOGO"] = "1",
        ["MSBUILDDISABLENODEREUSE"] = "1",
        ["DOTNET_CLI_USE_MSBUILD_SERVER"] = "0",
        ["UseSharedCompilation"] = "false",

        // The test runner's own settings are none of a new project's.
        ["MSBuildSDKsPath"] = null,
        ["MSBuildExtensionsPath"] = null,
    };

    /// <summary>Packs projects as they were built with the tests.</summary>
    public static async Task<PackageFeed> PackAsync(params string[] projects)
    {
        var feed = new PackageFeed(Directory.CreateTempSubdirectory("e2llm-feed-").FullName, $"0.1.0-test.{DateTimeOffset.UtcNow.ToUnixTimeMilliseconds()}");
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

    public void Dispose() => Directory.Delete(Folder, recursive: true);
}
