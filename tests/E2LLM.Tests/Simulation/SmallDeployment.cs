using E2LLM.Costs;
using E2LLM.Deployment;

namespace E2LLM.Tests.Simulation;

/// <summary>A cluster of four devices, a small model and plans on them, for tests of the simulator.</summary>
internal static class SmallDeployment
{
    public static ModelCost Model { get; } = ModelCost.Parse("""
        { "name": "small", "layerCount": 8, "hiddenSize": 1024, "headCount": 16, "kvHeadCount": 4, "headDim": 64, "feedForwardSize": 2816,
          "vocabularySize": 32000, "contextLength": 8192, "tensorType": "Q4_K_M", "weightBitsPerWeight": 4.83, "kvElementType": "F16", "tiedHead": false,
          "expertCount": 0, "expertUsedCount": 0, "slidingWindow": 128, "slidingWindowEvery": 2 }
        """);

    public static Cluster Cluster { get; } = Cluster.Parse("""
        { "devices": [
            { "name": "a", "memoryBytes": 400000000, "computeFlopsPerSecond": 4e11, "memoryBytesPerSecond": 4e10 },
            { "name": "b", "memoryBytes": 300000000, "computeFlopsPerSecond": 2e11, "memoryBytesPerSecond": 2e10 },
            { "name": "c", "memoryBytes": 300000000, "computeFlopsPerSecond": 3e11, "memoryBytesPerSecond": 3e10, "stageOverheadSeconds": 0.0002 },
            { "name": "d", "memoryBytes": 300000000, "computeFlopsPerSecond": 1e11, "memoryBytesPerSecond": 2e10, "hostMemoryBytes": 1000000000, "hostBytesPerSecond": 2e9 } ],
          "links": { "default": { "bytesPerSecond": 2e7, "roundTripSeconds": 0.0004 } } }
        """);

    /// <summary>Prefill on a and b, decode on c and d, cut at different layers, so that every cache crosses in three pieces.</summary>
    public static DeploymentPlan Split { get; } = Plan(
        Replica("p", ReplicaRole.Prefill, 0, ("a", 0, 5), ("b", 5, 8)),
        Replica("d", ReplicaRole.Decode, 6, ("c", 0, 4), ("d", 4, 8)));

    /// <summary>Two replicas that serve both phases.</summary>
    public static DeploymentPlan Mixed { get; } = Plan(
        Replica("m0", ReplicaRole.Mixed, 4, ("a", 0, 8)),
        Replica("m1", ReplicaRole.Mixed, 4, ("b", 0, 3), ("c", 3, 8)));

    /// <summary>Two prefill replicas, two decode replicas.</summary>
    public static DeploymentPlan FourSingles { get; } = Plan(
        Replica("p0", ReplicaRole.Prefill, 0, ("a", 0, 8)),
        Replica("p1", ReplicaRole.Prefill, 0, ("b", 0, 8)),
        Replica("d0", ReplicaRole.Decode, 4, ("c", 0, 8)),
        Replica("d1", ReplicaRole.Decode, 4, ("d", 0, 8)));

    public static DeploymentPlan Plan(params ReplicaPlan[] replicas) => new()
    {
        Planner = "test",
        ModelName = Model.Name,
        Objective = new PlanObjective { Kind = "none" },
        Replicas = replicas,
    };

    public static ReplicaPlan Replica(string name, ReplicaRole role, int slots, params (string Device, int Start, int End)[] stages) => new()
    {
        Name = name,
        Role = role,
        DecodeSlots = slots,
        Stages = [.. stages.Select((s, i) => new StagePlan
        {
            Device = s.Device,
            Layers = new LayerRange(s.Start, s.End),
            Embedding = i == 0,
            Head = i == stages.Length - 1,
        })],
    };

    public static Workload Load(double requestsPerSecond, int prompt = 300, int output = 60) => new()
    {
        Arrivals = ArrivalProcess.Poisson(requestsPerSecond),
        PromptTokens = LengthDistribution.LogNormal(prompt, prompt * 4),
        OutputTokens = LengthDistribution.LogNormal(output, output * 3),
    };
}
