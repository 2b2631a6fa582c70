using System.Text.Json;
using System.Xml.Linq;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;
using E2LLM.Tests.Support;
using E2LLM.Tool.CommandLine;
using E2LLM.Tool.Commands;

namespace E2LLM.Tests.Samples;

public sealed class PlanOptionsTests : IDisposable
{
    private const string Devices = """
        { "devices": [
            { "name": "a", "memoryBytes": 5900000, "computeFlopsPerSecond": 2.0e10, "memoryBytesPerSecond": 4.4e8 },
            { "name": "b", "memoryBytes": 5700000, "computeFlopsPerSecond": 4.0e9, "memoryBytesPerSecond": 2.0e8 },
            { "name": "c", "memoryBytes": 4300000, "computeFlopsPerSecond": 2.0e9, "memoryBytesPerSecond": 4.0e7 },
            { "name": "d", "memoryBytes": 4100000, "computeFlopsPerSecond": 8.0e8, "memoryBytesPerSecond": 5.0e7 },
            { "name": "e", "memoryBytes": 3900000, "computeFlopsPerSecond": 5.0e8, "memoryBytesPerSecond": 3.0e7 } ],
          "links": { "default": { "bytesPerSecond": 1.15e8, "roundTripSeconds": 0.0004 }, "ports": [ { "device": "b", "bytesPerSecond": 4.0e7 } ] } }
        """;

    private const string Shape = """
        { "name": "tiny", "layerCount": 6, "hiddenSize": 256, "headCount": 8, "kvHeadCount": 4, "headDim": 32, "feedForwardSize": 768,
          "vocabularySize": 2048, "contextLength": 512, "tensorType": "Q8_0", "weightBitsPerWeight": 8.5, "kvElementType": "F16", "tiedHead": false }
        """;

    private const string Load = """
        { "arrivals": { "kind": "poisson", "requestsPerSecond": 4.0 }, "promptTokens": { "kind": "fixed", "value": 64 },
          "outputTokens": { "kind": "fixed", "value": 64 }, "targets": { "ttftSeconds": 5, "tpotSeconds": 0.5 } }
        """;

    private readonly string _folder = Directory.CreateTempSubdirectory("e2llm-plan").FullName;

    public PlanOptionsTests()
    {
        File.WriteAllText(In("C.json"), Devices);
        File.WriteAllText(In("S.json"), Shape);
        File.WriteAllText(In("W.json"), Load);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Plan_WithFiles_DrawsExplainsAndWritesThePlan()
    {
        ToolRun run = await Run("--out", In("P.json"), "--svg", In("P.svg"));
        Assert.True(run.ExitCode == 0, run.Error);
        DeploymentPlan plan = DeploymentPlan.Parse(File.ReadAllText(In("P.json")));
        Assert.Equal(DeploymentPlanText.DrawSvg(plan), File.ReadAllText(In("P.svg")));
        Assert.Equal("svg", XDocument.Load(In("P.svg")).Root!.Name.LocalName);
        Assert.StartsWith(DeploymentPlanText.Draw(plan), run.Out, StringComparison.Ordinal);
        Assert.All(plan.Explanation, line => Assert.Contains($"  - {line}\n", run.Out, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(60, "[#####...............]  27 %  groups|[################....]  80 %  groups, best 1.5 requests/s,|")]
    [InlineData(0, "")]
    public void Progress_OfALongSearch_IsABarAfterTheFirstSecondOnATerminal(int columns, string expected)
    {
        using var error = new StringWriter();
        var time = new ManualTime();
        using (var bar = new ProgressBar(error, columns, time, isPatient: true))
        {
            var progress = new PlanProgress(bar);
            foreach ((double done, double best) in new[] { (0.1, 0), (0.2, 0), (0.266, 0), (0.8, 1.5) })
            {
                progress.Report(new PlanningProgress("groups", done, best, best == 0 ? double.PositiveInfinity : 2));
                time.Advance(TimeSpan.FromSeconds(0.5));
            }
        }

        Assert.Equal(expected, string.Join('|', error.ToString().Split('\r', StringSplitOptions.RemoveEmptyEntries).Select(state => state.Trim())));
    }

    [Fact]
    public async Task Plan_AsMermaid_IsTheFlowChartAndNothingElse()
    {
        DeploymentPlan plan = await Plan();
        Assert.Equal(DeploymentPlanText.DrawMermaid(plan), (await Run("--mermaid")).Out);
    }

    [Theory]
    [InlineData("exact", "exact")]
    [InlineData("auto", "exact")]
    [InlineData("Anytime", "anytime")]
    [InlineData("e2llm", "e2llm")]
    public async Task Plan_WithAPlanner_UsesIt(string name, string expected) => Assert.Equal(expected, (await Plan("--planner", name)).Planner);

    [Theory]
    [InlineData("capacity")]
    [InlineData("bottleneck")]
    [InlineData("waiting")]
    [InlineData("goodput")]
    public async Task Plan_WithAnObjective_IsThatOfTheLibrary(string name)
    {
        DeploymentPlan plan = await Plan("--objective", name, "--no-mixed", "--seed", "7");
        Assert.Equal(Library(new PlannerOptions { Objective = PlanObjectives.Find(name), AllowMixed = false, Seed = 7 }), plan.ToJson());
        Assert.Equal(name, plan.Objective.Kind);
    }

    [Fact]
    public async Task Plan_WithSpeedError_IsTheRobustPlanOfTheLibrary() =>
        Assert.Equal(Library(new PlannerOptions { SpeedErrorFraction = 0.3 }), (await Plan("--speed-error", "0.3")).ToJson());

    [Fact]
    public async Task Plan_WithATimeBudget_StillPlans() =>
        Assert.True((await Plan("--planner", "anytime", "--time-budget", "0.2")).Predicted.RequestsPerSecond > 0);

    [Fact]
    public async Task Plan_AgainAfterALoss_IsTheReplannersAndLeavesTheDeviceOut()
    {
        DeploymentPlan old = await Plan("--out", In("P.json"));
        string lost = old.Replicas[0].Stages[0].Device;
        DeploymentPlan plan = await Plan("--replan", In("P.json"), "--lost", lost);
        Cluster all = Cluster.Parse(Devices);
        Cluster left = all with { Devices = [.. all.Devices.Where(device => device.Name != lost)], Ports = [.. all.Ports.Where(port => port.Device != lost)] };
        Assert.Equal(Replanner.Replan(old, left, ModelCost.Parse(Shape), Workload.Parse(Load)).Result.Plan!.ToJson(), plan.ToJson());
        Assert.DoesNotContain(lost, NamesOf(plan));

        // The device comes back: the plan without it is the one that runs now.
        File.WriteAllText(In("Q.json"), plan.ToJson());
        DeploymentPlan back = await Plan("--replan", In("Q.json"), "--added", lost);
        Assert.Contains(lost, NamesOf(back));
        Assert.True(back.Predicted.RequestsPerSecond >= plan.Predicted.RequestsPerSecond);
    }

    [Theory]
    [InlineData("--lost 'nobody' is no device", "--lost", "nobody")]
    [InlineData("--added 'nobody' is not described", "--added", "nobody")]
    [InlineData("--added 'a' is in the plan", "--added", "a")]
    [InlineData("cannot be both", "--lost", "a", "--added", "a")]
    [InlineData("leave --planner out", "--lost", "a", "--planner", "exact")]
    [InlineData("only --objective capacity", "--lost", "a", "--objective", "waiting")]
    [InlineData("leave --speed-error out", "--lost", "a", "--speed-error", "0.3")]
    public async Task Plan_AgainWithWrongUsage_ExitsWith2AndOneLine(string expected, params string[] more)
    {
        await Plan("--out", In("P.json"));
        AssertUsage(await Run(["--replan", In("P.json"), .. more]), expected);
    }

    [Fact]
    public async Task Plan_AgainWithAClusterOfOtherDevices_SaysWhichOptionIsMissing()
    {
        await Plan("--out", In("P.json"));
        File.WriteAllText(In("C.json"), Devices.Replace("\"e\"", "\"f\"", StringComparison.Ordinal));
        AssertUsage(await Run("--replan", In("P.json"), "--lost", "e"), "say --added f");
        AssertUsage(await Run("--replan", In("P.json"), "--added", "f"), "say --lost e");
        DeploymentPlan plan = await Plan("--replan", In("P.json"), "--lost", "e", "--added", "f");
        Assert.Equal(["a", "b", "c", "d", "f"], NamesOf(plan).Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("give it with --replan", "--lost", "a")]
    [InlineData("give it with --replan", "--added", "a")]
    [InlineData("both want stdout", "--mermaid", "--json")]
    [InlineData("use --planner anytime", "--planner", "exact", "--time-budget", "1")]
    [InlineData("use --planner anytime", "--planner", "e2llm", "--time-budget", "1")]
    public async Task Plan_WithOptionsThatContradict_ExitsWith2AndOneLine(string expected, params string[] more) => AssertUsage(await Run(more), expected);

    [Theory]
    [InlineData("--planner", "2")]
    [InlineData("--planner", "magic")]
    [InlineData("--objective", "speed")]
    [InlineData("--time-budget", "0")]
    [InlineData("--time-budget", "NaN")]
    [InlineData("--speed-error", "1")]
    [InlineData("--speed-error", "-0.1")]
    public async Task Plan_WithAValueOutOfRange_IsWrongUsage(params string[] more)
    {
        ToolRun run = await Run(more);
        Assert.Equal((2, ""), (run.ExitCode, run.Out));
        Assert.StartsWith($"e2llm: {more[0]} '{more[1]}' is ", run.Error, StringComparison.Ordinal);
    }

    private static void AssertUsage(ToolRun run, string expected)
    {
        Assert.Equal((2, ""), (run.ExitCode, run.Out));
        Assert.Contains(expected, Assert.Single(run.Error.TrimEnd('\n').Split('\n')), StringComparison.Ordinal);
    }

    private static IEnumerable<string> NamesOf(DeploymentPlan plan) =>
        plan.UnusedDevices.Concat(plan.Replicas.SelectMany(replica => replica.Stages.Select(stage => stage.Device)));

    private static string Library(PlannerOptions options) =>
        DeploymentPlanner.Plan(Cluster.Parse(Devices), ModelCost.Parse(Shape), Workload.Parse(Load), options).Plan!.ToJson();

    private string In(string name) => Path.Combine(_folder, name);

    private async Task<DeploymentPlan> Plan(params string[] more)
    {
        JsonElement json = (await Run(["--json", .. more])).Json;
        return DeploymentPlan.Parse(json.GetRawText());
    }

    private Task<ToolRun> Run(params string[] more) => ToolRun.Of(
        ["plan", "--cluster", In("C.json"), "--model", In("S.json"), "--workload", In("W.json"), .. more]);
}
