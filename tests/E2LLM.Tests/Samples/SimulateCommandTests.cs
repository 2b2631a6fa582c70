using System.Text.Json;
using E2LLM.Tests.Simulation;

namespace E2LLM.Tests.Samples;

public sealed class SimulateCommandTests : IDisposable
{
    private const string Shape = """
        { "name": "small", "layerCount": 8, "hiddenSize": 1024, "headCount": 16, "kvHeadCount": 4, "headDim": 64, "feedForwardSize": 2816,
          "vocabularySize": 32000, "contextLength": 8192, "tensorType": "Q4_K_M", "weightBitsPerWeight": 4.83, "kvElementType": "F16", "tiedHead": false,
          "expertCount": 0, "expertUsedCount": 0, "slidingWindow": 128, "slidingWindowEvery": 2 }
        """;

    private const string Load = """
        { "arrivals": { "kind": "poisson", "requestsPerSecond": 2.0 }, "promptTokens": { "kind": "fixed", "value": 300 },
          "outputTokens": { "kind": "fixed", "value": 40 }, "targets": { "ttftSeconds": 30 } }
        """;

    private readonly string _folder = Directory.CreateTempSubdirectory("e2llm-simulate").FullName;

    public SimulateCommandTests()
    {
        File.WriteAllText(In("P.json"), SmallDeployment.Split.ToJson());
        File.WriteAllText(In("C.json"), SmallDeployment.Cluster.ToJson());
        File.WriteAllText(In("S.json"), Shape);
        File.WriteAllText(In("W.json"), Load);
        File.WriteAllText(In("T.csv"), "arrivalSeconds,promptTokens,outputTokens\n0,10,3\n0.5,20,4\n");
        File.WriteAllText(In("bad.csv"), "arrivalSeconds,promptTokens,outputTokens\n0,10,3\n0.5,x,4\n");
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Simulate_WithEverythingAsked_WritesReportTraceAndPage()
    {
        ToolRun run = await Run("W.json", "--requests", "80", "--router", "least-delay", "--seed", "3", "--trace-out", In("trace.json"), "--report", In("page.html"), "--json");
        JsonElement report = run.Json;
        Assert.Equal(80, report.GetProperty("requests").GetInt32());
        Assert.Equal("least-delay", report.GetProperty("router").GetString());
        Assert.True(report.GetProperty("kvBytesMoved").GetInt64() > 0);
        using JsonDocument trace = JsonDocument.Parse(File.ReadAllText(In("trace.json")));
        Assert.True(trace.RootElement.GetProperty("traceEvents").GetArrayLength() > 80);
        Assert.Contains("<svg", File.ReadAllText(In("page.html")), StringComparison.Ordinal);
        Assert.Equal(run.Out, (await Run("W.json", "--requests", "80", "--router", "least-delay", "--seed", "3", "--json")).Out);
    }

    [Fact]
    public async Task Simulate_OfATrace_ServesEveryLineOfIt()
    {
        Assert.Equal(2, (await Run("T.csv", "--json")).Json.GetProperty("requests").GetInt32());
        ToolRun text = await Run("T.csv");
        Assert.Contains("2 requests, router jsq-wait", text.Out, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Simulate_OfAMalformedTrace_NamesLineAndColumn()
    {
        ToolRun run = await Run("bad.csv");
        Assert.Equal(1, run.ExitCode);
        Assert.Contains("line 3, column 5", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Simulate_OfAnArrivalRateOfZero_NamesTheFieldAndItsPlace()
    {
        File.WriteAllText(In("zero.json"), Load.Replace("2.0", "0.0", StringComparison.Ordinal));
        ToolRun run = await Run("zero.json");
        Assert.Equal(1, run.ExitCode);
        Assert.Contains("$.arrivals: The request rate must be positive", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Simulate_OfATenfoldOverload_ServesAllAndSaysHowLongTheyWait()
    {
        File.WriteAllText(In("over.json"), Load.Replace("2.0", "200.0", StringComparison.Ordinal));
        JsonElement report = (await Run("over.json", "--requests", "200", "--router", "added-rate", "--json")).Json;
        Assert.Equal(200, report.GetProperty("requests").GetInt32());
        Assert.True(report.GetProperty("waitingSeconds").GetProperty("mean").GetDouble() > report.GetProperty("endToEndSeconds").GetProperty("mean").GetDouble() / 2);
    }

    [Fact]
    public async Task Simulate_OfRequestsWithoutLengthsAndAtOneTime_GivesTheRightAnswer()
    {
        File.WriteAllText(In("same.csv"), "arrivalSeconds,promptTokens,outputTokens\n7,0,0\n7,0,0\n7,5,2\n7,5,2\n");
        JsonElement report = (await Run("same.csv", "--json")).Json;
        Assert.Equal(4, report.GetProperty("requests").GetInt32());
        Assert.True(report.GetProperty("endToEndSeconds").GetProperty("p99").GetDouble() > 0);
    }

    [Fact]
    public async Task Simulate_WithAnUnknownRouter_IsWrongUsage() => Assert.Equal(2, (await Run("W.json", "--router", "magic")).ExitCode);

    private string In(string name) => Path.Combine(_folder, name);

    private Task<ToolRun> Run(string workload, params string[] more) => ToolRun.Of(
        ["simulate", "--plan", In("P.json"), "--cluster", In("C.json"), "--model", In("S.json"), "--workload", In(workload), .. more]);
}
