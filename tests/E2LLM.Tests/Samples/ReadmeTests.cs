using System.Text.RegularExpressions;
using E2LLM.Execution;
using E2LLM.KvCaching;
using E2LLM.Samples.Snippets;
using E2LLM.Tests.Support;
using E2LLM.Weights;

namespace E2LLM.Tests.Samples;

/// <summary>What the README shows is what the repository holds.</summary>
public sealed partial class ReadmeTests
{
    private static readonly string Readme = Text("README.md");

    [Theory]
    [InlineData("README.md", 5), InlineData("src/E2LLM/PACKAGE.md", 3), InlineData("src/E2LLM.Extensions.AI/README.md", 6), InlineData("samples/README.md", 2)]
    public void Examples_EachBlock_StandsInACompiledSnippet(string file, int count)
    {
        string[] folders = ["samples/Snippets", "samples/ConsoleSnippet", "samples/WebSnippet", "samples/WorkerSnippet"];
        string[] sources = [.. folders.SelectMany(folder => Repository.Files(folder, "*.cs")).Select(file => WithoutIndentation(File.ReadAllText(file)))];
        string[] blocks = [.. Block().Matches(Text(file)).Where(block => block.Groups["language"].Value == "csharp").Select(block => WithoutIndentation(block.Groups["text"].Value))];
        Assert.Equal(count, blocks.Length);
        Assert.All(blocks, block => Assert.Contains(sources, source => source.Contains(block, StringComparison.Ordinal)));
    }

    [Fact]
    public void Commands_FirstTwo_RunTheSampleAndTheService() =>
        Assert.Equal(
            ["dotnet run -c Release --project samples/EdgeCluster", "dotnet run -c Release --project samples/06-ChatInAspNetCore -- --urls http://127.0.0.1:5080"],
            Commands("README.md").Take(2));

    [Fact]
    public void CiScript_RunsTestsAndTheMainSample()
    {
        string script = File.ReadAllText(Repository.PathOf(".ci/run"));
        Assert.Contains("dotnet test -c Release\n", script, StringComparison.Ordinal);
        Assert.Contains("dotnet run -c Release --no-build --project samples/EdgeCluster\n", script, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Commands_OfTheTool_Work()
    {
        const string Tool = "dotnet run -c Release --project samples/E2LLM.Tool -- ";
        string[] calls = [.. Commands("samples/E2LLM.Tool/README.md").Where(line => line.StartsWith(Tool, StringComparison.Ordinal)).Select(line => line[Tool.Length..])];
        Assert.True(calls.Length >= 3);
        foreach (string call in calls)
        {
            // Paths in the README are those of the repository's root.
            string[] args = [.. Argument().Matches(call).Select(match => match.Value.Trim('"'))
                .Select(arg => arg.StartsWith("samples/", StringComparison.Ordinal) ? Repository.PathOf(arg) : arg)];
            ToolRun run = await ToolRun.Of(args);
            Assert.True(run.ExitCode == 0 && run.Out.Length > 0, $"{call}: {run.Error}");
        }
    }

    [Fact]
    public void Links_ToFiles_LeadSomewhere() =>
        Findings.AssertNone(
            from file in Repository.Files(".", "*.md")
            from match in Link().Matches(File.ReadAllText(file))
            let target = match.Groups["target"].Value
            where !target.StartsWith("https://", StringComparison.Ordinal) && !target.StartsWith('#')
            where !Path.Exists(Path.Combine(Path.GetDirectoryName(file)!, target.Split('#')[0]))
            select $"{Repository.RelativePath(file)}: {target}");

    [Fact]
    public void Readme_ReadInFiveMinutes() => Assert.InRange(Readme.Split('\n').Length, 80, 160);

    [Fact]
    public async Task Snippets_GenerateAndServe_GiveTheSameText()
    {
        using var alone = new StringWriter();
        using var served = new StringWriter();
        await GenerateText.RunAsync(ToolRun.Q8Model, alone).WaitAsync(TimeSpan.FromMinutes(1));
        await ServePlan.RunAsync(ToolRun.Q8Model, served).WaitAsync(TimeSpan.FromMinutes(1));
        Assert.True(served.ToString().Length > 100, served.ToString());
        Assert.StartsWith(served.ToString(), alone.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Snippets_Plan_DrawsAndSimulates()
    {
        using var output = new StringWriter();
        PlanCluster.Run(
            Repository.PathOf("samples/EdgeCluster/cluster-real.json"), Repository.PathOf("samples/EdgeCluster/model-8b.json"),
            Repository.PathOf("samples/EdgeCluster/workload-real.json"), output);
        Assert.Contains("Plan for llama-3.1-8b", output.ToString(), StringComparison.Ordinal);
        Assert.Contains("mean waiting time in simulation: ", output.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Snippets_LayersAndKeysAndValues_AreThoseOfTheWholeModel()
    {
        int[] ids = [1, 492, 480, 261, 423];
        using ModelWeights weights = ModelWeights.Load(ToolRun.Q8Model, null, out ModelIdentity identity);
        using LayerRangeExecutor here = Executor(), there = Executor();
        using KvCache kv = here.CreateSequence();
        float[] whole = Forward(here, kv, ids);

        // The other half of the model behind the snippet's half gives the same hidden states, bit for bit.
        using ModelWeights rest = ModelWeights.Load(ToolRun.Q8Model, new LayerRange(3, 6));
        using var last = new LayerRangeExecutor(rest);
        using KvCache restKv = last.CreateSequence();
        float[] hidden = LayerExecutor.Run(ToolRun.Q8Model, ids);
        last.Forward([new SequenceSlice(restKv, ids.Length)], hidden);
        Assert.Equal(whole, hidden);

        using KvCache received = ShipKeysValues.Run(kv, there, identity, ids);
        Assert.Equal(Forward(here, kv, [77]), Forward(there, received, [77]));

        LayerRangeExecutor Executor() => new(weights, new ExecutorOptions { ThreadCount = 1, KvBlockCount = 2 });

        static float[] Forward(LayerRangeExecutor executor, KvCache kv, int[] ids)
        {
            float[] hidden = new float[ids.Length * executor.Shape.HiddenSize];
            executor.Embed(ids, hidden);
            executor.Forward([new SequenceSlice(kv, ids.Length)], hidden);
            return hidden;
        }
    }

    private static string Text(string file) => File.ReadAllText(Repository.PathOf(file)).ReplaceLineEndings("\n");

    private static IEnumerable<string> Commands(string file) =>
        Block().Matches(Text(file)).Where(block => block.Groups["language"].Value == "sh")
            .SelectMany(block => block.Groups["text"].Value.Split('\n', StringSplitOptions.RemoveEmptyEntries));

    private static string WithoutIndentation(string text) =>
        string.Join('\n', text.ReplaceLineEndings("\n").Split('\n').Select(line => line.Trim()).Where(line => line.Length > 0));

    [GeneratedRegex(@"^```(?<language>\w+)\n(?<text>.*?)^```$", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Block();

    [GeneratedRegex(@"""[^""]*""|\S+")]
    private static partial Regex Argument();

    [GeneratedRegex(@"\]\((?<target>[^)]+)\)")]
    private static partial Regex Link();
}
