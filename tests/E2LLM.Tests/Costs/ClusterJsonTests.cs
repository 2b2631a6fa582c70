using E2LLM.Costs;

namespace E2LLM.Tests.Costs;

public sealed class ClusterJsonTests
{
    private const string Example = """
        { "comment": "two devices", "devices": [
            { "name": "nano-1", "memoryBytes": 6442450944, "computeFlopsPerSecond": 1.2e12, "memoryBytesPerSecond": 5.1e10,
              "stageOverheadSeconds": 0.0002, "hostMemoryBytes": 0, "hostBytesPerSecond": 0,
              "profile": { "modelIdentity": "m", "errorFraction": 0.05,
                "prefill": [ { "chunkTokens": 512, "contextTokens": 0, "secondsPerLayer": 0.011 } ],
                "decode":  [ { "batch": 1, "contextTokens": 512, "secondsPerLayer": 0.0019 } ],
                "headSeconds": 0.004, "embeddingSeconds": 0.0001 } },
            { "name": "gpu-1", "memoryBytes": 12e9, "computeFlopsPerSecond": 2e13, "memoryBytesPerSecond": 4e11, "comment": "a real one" } ],
          "links": { "default": { "bytesPerSecond": 1.15e8, "roundTripSeconds": 0.0004 },
                     "ports":   [ { "device": "nano-1", "bytesPerSecond": 1e8 } ],
                     "pairs":   [ { "from": "nano-1", "to": "gpu-1", "bytesPerSecond": 1.2e7, "roundTripSeconds": 0.02 } ] } }
        """;

    [Fact]
    public void Parse_WorkedExample_GivesEveryValue()
    {
        Cluster cluster = Cluster.Parse(Example);

        Assert.Null(cluster.FindProblem());
        Assert.Equal(6442450944, cluster.Devices[0].MemoryBytes);
        Assert.Equal(12_000_000_000, cluster.Devices[1].MemoryBytes);
        Assert.Equal(0.011, cluster.Devices[0].Profile!.Prefill[0].SecondsPerLayer);
        Assert.Equal(1.15e8, cluster.DefaultLink!.BytesPerSecond);
        Assert.Equal(new NetworkLink(1.2e7, 0.02), cluster.FindLink("nano-1", "gpu-1"));
        Assert.Equal(new NetworkLink(1.2e7, 0.02), cluster.FindLink("gpu-1", "nano-1"));
        Assert.False(cluster.HasUniformLinks);
    }

    [Fact]
    public void ToJson_ThenParse_GivesTheSameText()
    {
        string once = Cluster.Parse(Example).ToJson();
        Assert.Equal(once, Cluster.Parse(once).ToJson());
    }

    [Theory]
    [InlineData("""{"devices":[],"link":{}}""", "$.link")]
    [InlineData("""{"devices":[{"name":"a","memoryBytes":1,"computeFlopsPerSecond":1,"memoryBytesPerSecond":1,"speed":2}]}""", "$.devices[0].speed")]
    [InlineData("""{"devices":[{"name":"a","memoryBytes":"1","computeFlopsPerSecond":1,"memoryBytesPerSecond":1}]}""", "$.devices[0].memoryBytes")]
    [InlineData("""{"devices":[{"name":"a","memoryBytes":1.5,"computeFlopsPerSecond":1,"memoryBytesPerSecond":1}]}""", "$.devices[0].memoryBytes")]
    [InlineData("""{"devices":[{"name":"a","computeFlopsPerSecond":1,"memoryBytesPerSecond":1}]}""", "$.devices[0].memoryBytes")]
    [InlineData("""{"devices":7}""", "$.devices")]
    [InlineData("""{"devices":[],"devices":[]}""", "$.devices")]
    [InlineData("""{"devices":[]""", "$")]
    [InlineData("[]", "$")]
    [InlineData("", "$")]
    public void Parse_WrongText_NamesThePath(string json, string path)
    {
        DescriptionFormatException error = Assert.Throws<DescriptionFormatException>(() => Cluster.Parse(json));
        Assert.Equal(path, error.Path);
    }

    [Fact]
    public void FindLink_BothDirectionsGiven_KeepsThemApart()
    {
        Cluster cluster = TestClusters.Uniform(2) with
        {
            Pairs = [new LinkPair("d0", "d1", new NetworkLink(5, 1)), new LinkPair("d1", "d0", new NetworkLink(7, 2))],
        };
        Assert.Equal(5, cluster.FindLink("d0", "d1")!.BytesPerSecond);
        Assert.Equal(7, cluster.FindLink("d1", "d0")!.BytesPerSecond);
    }

    [Fact]
    public void FindLink_SlowPort_LimitsTheLink()
    {
        Cluster cluster = TestClusters.Uniform(2) with { Ports = [new PortLimit("d1", 10)] };
        Assert.Equal(10, cluster.FindLink("d0", "d1")!.BytesPerSecond);
    }

    [Fact]
    public void FindLink_NoDefaultAndNoPair_IsNull() =>
        Assert.Null((TestClusters.Uniform(2) with { DefaultLink = null }).FindLink("d0", "d1"));
}
