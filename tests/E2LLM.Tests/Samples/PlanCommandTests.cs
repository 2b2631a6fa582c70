using System.Text.Json;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;
using E2LLM.Tests.Planning;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

public sealed class PlanCommandTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("e2llm-plan").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Plan_OfTheEdgeCluster_CanBeSimulatedWithTheSameFiles()
    {
        string plan = In("P.json");
        string[] files =
        [
            "--cluster", Repository.PathOf("samples/EdgeCluster/cluster.json"), "--model", ToolRun.Q8Model,
            "--workload", Repository.PathOf("samples/EdgeCluster/workload.json"),
        ];
        JsonElement planned = (await ToolRun.Of(["plan", .. files, "--out", plan, "--json"])).Json;
        JsonElement report = (await ToolRun.Of(["simulate", .. files, "--plan", plan, "--requests", "100", "--json"])).Json;
        Assert.Equal(100, report.GetProperty("requests").GetInt32());

        // Four requests a second are far below its capacity, so that they are served as they come.
        Assert.True(planned.GetProperty("objective").GetProperty("value").GetDouble() > 8);
        Assert.InRange(report.GetProperty("requestsPerSecond").GetDouble(), 2, 6);
    }

    // Three hundred requests a second are beyond the little cluster: waiting and overload are then seconds, capacity and goodput are rates.
    [Theory]
    [InlineData("capacity")]
    [InlineData("bottleneck")]
    [InlineData("waiting")]
    [InlineData("goodput")]
    public async Task Plan_WithAnObjective_StatesItsOwnKindAndValue(string kind)
    {
        var random = new RandomInstances(21);
        File.WriteAllText(In("C.json"), random.Cluster(3).ToJson());
        File.WriteAllText(In("S.json"), """
            { "name": "small", "layerCount": 8, "hiddenSize": 2048, "headCount": 32, "kvHeadCount": 8, "headDim": 64, "feedForwardSize": 8192,
              "vocabularySize": 32000, "contextLength": 8192, "weightBitsPerWeight": 4.8, "tiedHead": false }
            """);
        File.WriteAllText(In("W.json"), """
            { "arrivals": { "kind": "poisson", "requestsPerSecond": 300 }, "promptTokens": { "kind": "fixed", "value": 300 },
              "outputTokens": { "kind": "fixed", "value": 100 }, "targets": { "ttftSeconds": 2, "tpotSeconds": 0.1 } }
            """);
        ToolRun run = await ToolRun.Of(
            "plan", "--cluster", In("C.json"), "--model", In("S.json"), "--workload", In("W.json"), "--objective", kind, "--json");
        JsonElement objective = run.Json.GetProperty("objective");
        Assert.Equal(kind, objective.GetProperty("kind").GetString());

        DeploymentPlan plan = DeploymentPlan.Parse(run.Out);
        double capacity = plan.Predicted.RequestsPerSecond, value = objective.GetProperty("value").GetDouble();
        Assert.True(value > 0);
        switch (kind)
        {
            case "capacity":
                Assert.Equal(capacity, value, capacity * 1e-12);
                break;
            case "bottleneck":
                Assert.Equal((1 / capacity) - (1.0 / 300), value, 1e-12);
                break;
            case "waiting":
                Assert.Equal(plan.Predicted.WaitingSeconds, value, value * 1e-9);
                break;
            default:
                Assert.InRange(value, 0, capacity * (1 + 1e-12));
                break;
        }

        Assert.Equal(
            PlanObjectives.Find(kind)!.Evaluate(
                plan, Cluster.Parse(File.ReadAllText(In("C.json"))), ModelCost.Parse(File.ReadAllText(In("S.json"))), Workload.Load(In("W.json"))),
            value, value * 1e-9);
    }

    private string In(string name) => Path.Combine(_folder, name);
}
