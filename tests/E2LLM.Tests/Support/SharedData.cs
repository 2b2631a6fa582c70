namespace E2LLM.Tests.Support;

/// <summary>Finds the data folder beside the checkout. Tests that need it say "skipped: no ../shared" and return where it is missing.</summary>
internal static class SharedData
{
    /// <summary>The path of <paramref name="relative"/> under the shared folder, or null where there is none.</summary>
    public static string? Find(string relative)
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "E2LLM.sln")) && folder.Parent is { } parent)
            {
                string path = Path.Combine(parent.FullName, "shared", relative);
                return File.Exists(path) || Directory.Exists(path) ? path : null;
            }
        }

        return null;
    }
}
