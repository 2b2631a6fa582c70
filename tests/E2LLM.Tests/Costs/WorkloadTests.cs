using E2LLM.Costs;

namespace E2LLM.Tests.Costs;

public sealed class WorkloadTests
{
    [Fact]
    public void Parse_WorkedExample_ReadsTheColumn()
    {
        const string json = """
            { "arrivals": { "kind": "poisson", "requestsPerSecond": 2.0 },
              "promptTokens": { "kind": "fixed", "value": 576 }, "outputTokens": { "kind": "empirical", "file": "conv.csv", "column": "GeneratedTokens" },
              "targets": { "ttftSeconds": 2.0, "tpotSeconds": 0.1, "attainment": 0.9, "minimumDecodeTokensPerSecond": 15 } }
            """;
        Workload workload = Workload.Parse(json, name => name == "conv.csv"
            ? "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,374,44\n2023-11-16 18:17:04.0319600,396,110"
            : throw new FileNotFoundException(name));

        Assert.Equal(77, workload.OutputTokens.Mean);
        Assert.Equal(576, workload.PromptTokens.Mean);
        Assert.Equal(1 / 15.0, workload.Targets.MaxDecodeCycleSeconds, 12);
        Assert.Equal(2.0, workload.Arrivals.RequestsPerSecond);
    }

    [Fact]
    public void Trace_OfIsoTimes_IsScaled()
    {
        const string json = """
            { "arrivals": { "kind": "trace", "file": "t.csv", "scale": 2 },
              "promptTokens": { "kind": "fixed", "value": 5 }, "outputTokens": { "kind": "fixed", "value": 5 } }
            """;
        Workload workload = Workload.Parse(json, _ => "TIMESTAMP,X\n2023-11-16 18:17:00,1\n2023-11-16 18:17:02,1\n2023-11-16 18:17:08,1\n");
        Assert.Equal([0, 1, 4], workload.Arrivals.TraceSeconds);
        Assert.Equal(0.5, workload.Arrivals.RequestsPerSecond, 12);
        Assert.Equal(0.5, workload.Arrivals.CoefficientOfVariation, 12);
    }

    [Fact]
    public void Trace_OfJsonLines_IsInMilliseconds()
    {
        double[] seconds = TraceFile.ReadSeconds("{\"timestamp\": 0, \"x\": 1}\n{\"timestamp\": 1500}\n", "$");
        Assert.Equal([0, 1.5], seconds);
    }

    [Theory]
    [InlineData("""{ "kind": "uniform" }""", "$.promptTokens.kind")]
    [InlineData("""{ "kind": "fixed", "value": 0 }""", "$.promptTokens")]
    [InlineData("""{ "kind": "fixed", "value": 3, "mean": 2 }""", "$.promptTokens.mean")]
    [InlineData("""{ "kind": "lognormal", "mean": 10, "p99": 1000 }""", "$.promptTokens")]
    [InlineData("""{ "kind": "empirical", "file": "gone.csv", "column": "x" }""", "$.promptTokens.file")]
    public void Parse_WrongLengths_NamesThePath(string lengths, string path)
    {
        string json = "{ \"arrivals\": { \"kind\": \"fixed\", \"periodSeconds\": 1 }, \"promptTokens\": " + lengths
            + ", \"outputTokens\": { \"kind\": \"fixed\", \"value\": 5 } }";
        DescriptionFormatException error = Assert.Throws<DescriptionFormatException>(
            () => Workload.Parse(json, name => throw new FileNotFoundException(name)));
        Assert.Equal(path, error.Path);
    }

    [Theory]
    [InlineData(200, 900)]
    [InlineData(1000, 5000)]
    [InlineData(50, 60)]
    public void LogNormal_OfMeanAndPercentile_HasThem(double mean, double p99)
    {
        LengthDistribution lengths = LengthDistribution.LogNormal(mean, p99);
        Assert.InRange(lengths.Mean, mean * 0.99, mean * 1.01);
        Assert.InRange(lengths.Quantile(0.99), p99 * 0.98, p99 * 1.02);
    }
}
