using System.Text.RegularExpressions;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Architecture;

/// <summary>The arrows between the library's namespaces. This table is the source of truth.</summary>
public sealed partial class NamespaceArrowTests
{
    /// <summary>What each namespace may refer to, besides the vocabulary (the root) and Diagnostics. Arrows are direct, not transitive.</summary>
    private static readonly Dictionary<string, string[]> Allowed = new(StringComparer.Ordinal)
    {
        [""] = [],
        ["Diagnostics"] = [],
        ["Gguf"] = [],
        ["Kernels"] = [],
        ["KvCaching"] = [],
        ["Sampling"] = [],
        ["Costs"] = [],
        ["Deployment"] = [],
        ["Tokenization"] = ["Gguf"],
        ["Weights"] = ["Gguf", "Kernels"],
        ["Transfer"] = ["KvCaching", "Kernels"],
        ["Execution"] = ["Weights", "Kernels", "KvCaching"],
        ["Scheduling"] = ["Execution", "KvCaching", "Sampling"],
        ["Generation"] = ["Gguf", "Weights", "Tokenization", "Execution", "KvCaching", "Sampling", "Scheduling"],
        ["Profiling"] = ["Gguf", "Weights", "Execution", "KvCaching", "Costs"],
        ["Planning"] = ["Costs", "Deployment"],
        ["Simulation"] = ["Costs", "Deployment", "Planning"],
        ["Replicas"] = ["Execution", "KvCaching", "Scheduling", "Sampling", "Transfer", "Deployment", "Costs"],
    };

    [Fact]
    public void Library_CompiledReferences_FollowTheTable()
    {
        IReadOnlyDictionary<(string From, string To), string> arrows =
            NamespaceReferences.Read(typeof(LayerRange).Assembly.Location, "E2LLM");
        Assert.NotEmpty(arrows);
        Findings.AssertNone(arrows.Where(arrow => !IsAllowed(arrow.Key.From, arrow.Key.To))
            .Select(arrow => $"{arrow.Key.From} -> {arrow.Key.To} (in {arrow.Value})"));
    }

    /// <summary>Constants leave no trace in the compiled code, so the source is read too.</summary>
    [Fact]
    public void Library_UsingDirectives_FollowTheTable()
    {
        string library = Repository.PathOf("src/E2LLM");
        var wrong = new List<string>();
        foreach (string file in Repository.Files("src/E2LLM", "*.cs"))
        {
            string folder = Path.GetDirectoryName(Path.GetRelativePath(library, file))!.Replace('\\', '/').Split('/')[0];
            wrong.AddRange(UsingDirective().Matches(File.ReadAllText(file))
                .Select(match => match.Groups["name"].Value)
                .Where(target => !IsAllowed(folder, target))
                .Select(target => $"{Repository.RelativePath(file)} uses {target}"));
        }

        Findings.AssertNone(wrong);
    }

    [Fact]
    public void NamespaceReferences_PlantedArrowInMethodBodyOnly_IsFound()
    {
        const string PlantedRoot = "E2LLM.Tests.Architecture.Planted";
        IReadOnlyDictionary<(string From, string To), string> arrows =
            NamespaceReferences.Read(typeof(NamespaceArrowTests).Assembly.Location, PlantedRoot);
        Assert.Equal(new Dictionary<(string, string), string> { [("Upper", "Lower")] = nameof(Planted.Upper.Caller) }, arrows);
        Assert.Equal(3, Architecture.Planted.Upper.Caller.Answer());
    }

    private static bool IsAllowed(string from, string to) =>
        from == to || (Allowed.ContainsKey(from) && Allowed.ContainsKey(to)
            && ((from.Length > 0 && to is "" or "Diagnostics") || Allowed[from].Contains(to)));

    [GeneratedRegex(@"^using\s+(static\s+)?(\w+\s*=\s*)?E2LLM\.(?<name>\w+)", RegexOptions.Multiline)]
    private static partial Regex UsingDirective();
}
