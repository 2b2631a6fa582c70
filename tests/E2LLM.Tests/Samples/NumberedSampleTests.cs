using System.Globalization;
using System.Text.RegularExpressions;
using E2LLM.Generation;
using E2LLM.Sampling;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>The numbered samples as a reader runs them: as programs. Each is one screen, stands in the solution and in the list of samples.</summary>
public sealed partial class NumberedSampleTests
{
    private static readonly string[] Names =
        [.. Directory.GetDirectories(Repository.PathOf("samples"), "0?-*").Select(folder => Path.GetFileName(folder)!).Order(StringComparer.Ordinal)];

    [Fact]
    public async Task GenerateText_Run_GivesTheTextOfItsSeed()
    {
        SampleRun run = (await SampleRun.Of("01-GenerateText", ToolRun.Q8Model, "Tom had a red ball")).Succeeded();
        string expected = await TextAsync("Tom had a red ball", 100, new SamplingOptions { Temperature = 0.7f, TopP = 0.95f, Seed = 7 });
        Assert.Equal("Tom had a red ball" + expected + "\n", run.Out);
        Assert.Contains("ended by", run.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("02-TwoStagePipeline", "Once upon a time")]
    [InlineData("03-PrefillDecodeSplit", "Lily and Ben were playing in the garden. They saw a big")]
    public async Task SplitModel_Run_GivesTheTextOfTheWholeModel(string sample, string prompt)
    {
        SampleRun run = (await SampleRun.Of(sample)).Succeeded();
        Assert.Equal(prompt + await TextAsync(prompt, 60, new SamplingOptions()) + "\n", run.Out);
    }

    [Fact]
    public async Task PlanCluster_Run_PlansAndPlansAgainWithoutADevice()
    {
        SampleRun run = (await SampleRun.Of("04-PlanCluster")).Succeeded();
        Match without = Without().Match(run.Out);
        Assert.True(without.Success, run.Out);
        string[] plans = run.Out.Split("Plan for llama-3.1-8b");
        Assert.Equal(3, plans.Length);
        Assert.Contains(without.Groups["device"].Value, plans[1], StringComparison.Ordinal);
        Assert.DoesNotContain(without.Groups["device"].Value, plans[2], StringComparison.Ordinal);
    }

    [Fact]
    public async Task PlanCluster_ClusterTooSmall_SaysWhatIsMissing()
    {
        string cluster = Path.Combine(Path.GetTempPath(), $"e2llm-{Guid.NewGuid():N}.json");
        await File.WriteAllTextAsync(cluster, """
            {"devices":[{"name":"only","memoryBytes":1e9,"computeFlopsPerSecond":1e12,"memoryBytesPerSecond":1e10,"stageOverheadSeconds":0}],
             "links":{"default":{"bytesPerSecond":1e8,"roundTripSeconds":0}}}
            """);
        try
        {
            SampleRun run = await SampleRun.Of(
                "04-PlanCluster", cluster, Repository.PathOf("samples/04-PlanCluster/model.json"), Repository.PathOf("samples/04-PlanCluster/workload.json"));
            Assert.Equal(1, run.ExitCode);
            Assert.StartsWith("no plan (", run.Out, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(cluster);
        }
    }

    [Fact]
    public async Task SimulateServing_Run_WaitsLongerUnderMoreLoad()
    {
        SampleRun run = (await SampleRun.Of("05-SimulateServing")).Succeeded();
        double[][] rows = [.. Row().Matches(run.Out).Select(row => row.Groups["number"].Captures.Select(number => double.Parse(number.Value, CultureInfo.InvariantCulture)).ToArray())];
        Assert.Equal(5, rows.Length);
        double[] waiting = [.. rows.Select(row => row[1])];
        Assert.Equal(waiting.Order(), waiting);
        Assert.All(rows, row => Assert.True(row[1] <= row[2] && row[3] <= row[4], string.Join(' ', row)));
    }

    [Fact]
    public void Programs_Length_IsOneScreen() =>
        Findings.AssertNone(Names.Where(name => int.Parse(name[..2], CultureInfo.InvariantCulture) <= 5)
            .Select(name => (Name: name, Lines: File.ReadLines(Repository.PathOf($"samples/{name}/Program.cs")).Count()))
            .Where(program => program.Lines > 80).Select(program => $"{program.Name}: {program.Lines} lines"));

    [Fact]
    public void Samples_EachOne_StandsInTheSolutionAndInTheList()
    {
        string solution = File.ReadAllText(Repository.PathOf("E2LLM.sln")), list = File.ReadAllText(Repository.PathOf("samples/README.md"));
        Assert.True(Names.Length >= 5);
        Findings.AssertNone(Names.Where(name =>
            !solution.Contains($"samples\\{name}\\{name[3..]}.csproj", StringComparison.Ordinal)
            || !list.Contains($"[{name}]({name})", StringComparison.Ordinal)
            || !list.Contains($"dotnet run -c Release --project samples/{name}", StringComparison.Ordinal)));
    }

    private static async Task<string> TextAsync(string prompt, int tokens, SamplingOptions sampling)
    {
        using TextGenerator generator = TextGenerator.Load(ToolRun.Q8Model);
        string text = "";
        await foreach (GeneratedToken token in generator.GenerateAsync(prompt, new GenerationOptions { MaxTokenCount = tokens, Sampling = sampling }))
        {
            text += token.Text;
        }

        return text;
    }

    [GeneratedRegex(@"^Without (?<device>[\w-]+): [\d.]+ GB of weights move\.$", RegexOptions.Multiline)]
    private static partial Regex Without();

    [GeneratedRegex(@"^ +\d+ %(\s+(?<number>[\d.]+)){6}$", RegexOptions.Multiline)]
    private static partial Regex Row();
}
