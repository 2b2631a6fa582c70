using System.Text.RegularExpressions;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Architecture;

/// <summary>House rules that a reader relies on: a file's place tells its namespace, files stay short, nothing names a machine.</summary>
public sealed partial class SourceFileTests
{
    private const int LongestFileInLines = 300;

    [Fact]
    public void Sources_Namespace_EqualsFolder()
    {
        var wrong = new List<string>();
        foreach ((string project, string root) in new[]
        {
            ("src/E2LLM", "E2LLM"), ("tests/E2LLM.Tests", "E2LLM.Tests"),
        })
        {
            string folder = Repository.PathOf(project);
            foreach (string file in Repository.Files(project, "*.cs"))
            {
                string below = Path.GetDirectoryName(Path.GetRelativePath(folder, file))!.Replace('\\', '/');
                string expected = below.Length == 0 ? root : $"{root}.{below.Replace('/', '.')}";

                // Users need one using directive for a subject: what is public may stand in the subject's own namespace.
                string subject = below.Length == 0 ? root : $"{root}.{below.Split('/')[0]}";
                Match match = FileScopedNamespace().Match(File.ReadAllText(file));
                string found = match.Groups["name"].Value;
                if (match.Success ? found != expected && found != subject : !IsWithoutTypes(file))
                {
                    wrong.Add($"{Repository.RelativePath(file)}: '{found}' instead of '{expected}'");
                }
            }
        }

        Findings.AssertNone(wrong);
    }

    [Fact]
    public void Sources_Length_StaysReadable() =>
        Findings.AssertNone(Repository.Files(".", "*.cs")
            .Select(file => (Name: Repository.RelativePath(file), Lines: File.ReadLines(file).Count()))
            .Where(file => file.Lines > LongestFileInLines)
            .Select(file => $"{file.Name}: {file.Lines} lines, {LongestFileInLines} at most"));

    [Fact]
    public void Files_Text_NamesNoMachinePath()
    {
        // Written in two parts, so that this file does not hold what it forbids.
        string[] forbidden = ["/wor" + "k/", "/tmp/" + "e2", "/ro" + "ot/", "/ho" + "me/", "/opt/" + "nuget"];
        string[] patterns = ["*.cs", "*.csproj", "*.props", "*.md", "*.json", "*.mjs", "*.sh", "*.yml", "*.txt", "run"];
        Findings.AssertNone(
            from pattern in patterns
            from file in Repository.Files(".", pattern)
            let text = File.ReadAllText(file)
            from word in forbidden
            where text.Contains(word, StringComparison.Ordinal)
            select $"{Repository.RelativePath(file)}: {word}");
    }

    /// <summary>Assembly attributes and global usings stand in files without a namespace.</summary>
    private static bool IsWithoutTypes(string file) => !TypeDeclaration().IsMatch(File.ReadAllText(file));

    [GeneratedRegex(@"^namespace (?<name>[\w.]+);", RegexOptions.Multiline)]
    private static partial Regex FileScopedNamespace();

    [GeneratedRegex(@"^\s*(public|internal|file)?\s*(static |sealed |abstract |readonly |partial )*(class|struct|record|interface|enum) \w", RegexOptions.Multiline)]
    private static partial Regex TypeDeclaration();
}
