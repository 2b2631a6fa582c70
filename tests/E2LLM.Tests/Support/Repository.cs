namespace E2LLM.Tests.Support;

/// <summary>The checkout that these tests were built from: its root and its own text files, build outputs left out.</summary>
internal static class Repository
{
    private static readonly HashSet<string> Generated =
        new(StringComparer.Ordinal) { "bin", "obj", "artifacts", "node_modules", "TestResults", "BenchmarkDotNet.Artifacts" };

    /// <summary>The folder that holds E2LLM.sln.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>Absolute path of <paramref name="relative"/> (written with forward slashes).</summary>
    public static string PathOf(string relative) => Path.GetFullPath(relative, Root);

    /// <summary>Path from the root, written with forward slashes.</summary>
    public static string RelativePath(string path) => Path.GetRelativePath(Root, path).Replace('\\', '/');

    /// <summary>All files under <paramref name="folder"/> whose names match <paramref name="pattern"/>, in ordinal order.</summary>
    public static IReadOnlyList<string> Files(string folder, string pattern)
    {
        var found = new List<string>();
        Collect(new DirectoryInfo(PathOf(folder)), pattern, found);
        found.Sort(StringComparer.Ordinal);
        return found;
    }

    private static void Collect(DirectoryInfo folder, string pattern, List<string> found)
    {
        found.AddRange(folder.EnumerateFiles(pattern).Select(file => file.FullName));
        foreach (DirectoryInfo child in folder.EnumerateDirectories())
        {
            if (!Generated.Contains(child.Name) && child.Name != ".git" && child.LinkTarget is null)
            {
                Collect(child, pattern, found);
            }
        }
    }

    private static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "E2LLM.sln")))
            {
                return folder.FullName;
            }
        }

        throw new InvalidOperationException($"No folder above {AppContext.BaseDirectory} holds E2LLM.sln.");
    }
}
