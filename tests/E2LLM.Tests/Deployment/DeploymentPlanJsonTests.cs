using E2LLM.Deployment;

namespace E2LLM.Tests.Deployment;

public sealed class DeploymentPlanJsonTests
{
    private const string Example = """
        { "version": 1, "planner": "exact", "seed": 1, "modelName": "llama-3.1-8b",
          "objective": { "kind": "waiting", "value": 0.84, "bound": 0.84, "gapFraction": 0.0, "proved": true },
          "replicas": [ { "name": "r0", "role": "prefill", "decodeSlots": 0, "prefillShare": 1.0,
              "stages": [ { "device": "gpu-1", "layers": [0, 20], "embedding": true, "head": false, "memoryBytes": 3100000000 },
                          { "device": "nano-1", "layers": [20, 32], "embedding": false, "head": true, "memoryBytes": 2100000000 } ],
              "prefillTokensPerSecond": 410.0, "decodeTokensPerSecond": 0.0,
              "bottleneck": { "kind": "stage", "at": "nano-1", "seconds": 0.9 } } ],
          "unusedDevices": [ "pi-3" ],
          "predicted": { "waitingSeconds": 0.84, "ttftSeconds": 1.9, "tpotSeconds": 0.07, "requestsPerSecond": 3.1 },
          "explanation": [ "…" ] }
        """;

    [Fact]
    public void Parse_WorkedExample_RoundTrips()
    {
        DeploymentPlan plan = DeploymentPlan.Parse(Example);
        Assert.Equal(ReplicaRole.Prefill, plan.Replicas[0].Role);
        Assert.Equal(new LayerRange(20, 32), plan.Replicas[0].Stages[1].Layers);
        Assert.True(plan.Replicas[0].Stages[1].Head);
        Assert.Equal("pi-3", Assert.Single(plan.UnusedDevices));
        Assert.Equal("…", Assert.Single(plan.Explanation));
        string once = plan.ToJson();
        Assert.Equal(once, DeploymentPlan.Parse(once).ToJson());
        Assert.Equal(3.1, DeploymentPlan.Parse(once).Predicted.RequestsPerSecond);
    }

    [Theory]
    [InlineData("\"version\": 1", "\"version\": 2", "$.version")]
    [InlineData("[0, 20]", "[20, 0]", "$.replicas[0].stages[0].layers")]
    [InlineData("[0, 20]", "[0]", "$.replicas[0].stages[0].layers")]
    [InlineData("\"prefill\"", "\"draft\"", "$.replicas[0].role")]
    [InlineData("\"prefillShare\": 1.0", "\"prefillShare\": 1.5", "$.replicas[0]")]
    [InlineData("\"head\": false", "\"tail\": false", "$.replicas[0].stages[0].tail")]
    [InlineData("\"device\": \"gpu-1\", ", "", "$.replicas[0].stages[0].device")]
    public void Parse_WrongText_NamesThePath(string old, string replacement, string path)
    {
        string json = Example.Replace(old, replacement, StringComparison.Ordinal);
        Assert.NotEqual(Example, json);
        Assert.Equal(path, Assert.Throws<DescriptionFormatException>(() => DeploymentPlan.Parse(json)).Path);
    }
}
