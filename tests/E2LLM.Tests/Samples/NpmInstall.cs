using System.ComponentModel;

namespace E2LLM.Tests.Samples;

/// <summary>Packages of npm that only a test needs.</summary>
internal static class NpmInstall
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    /// <summary>Installs a package into a folder; says why not where that cannot be done on this machine, or not soon.</summary>
    public static async Task<string?> FindAsync(string folder, string package)
    {
        try
        {
            await File.WriteAllTextAsync(Path.Combine(folder, "package.json"), """{ "private": true, "type": "module" }""");
            SampleRun run = await SampleRun.OfProgram(
                "npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=30000", package], folder, limit: Limit);
            return run.ExitCode == 0 ? null : $"npm cannot install {package}: {run.Error.Split('\n')[0]}";
        }
        catch (Win32Exception)
        {
            return "there is no npm";
        }
        catch (TimeoutException)
        {
            return $"npm has not installed {package} within {Limit.TotalMinutes} minutes";
        }
    }
}
