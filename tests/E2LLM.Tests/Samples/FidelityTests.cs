using System.Diagnostics;
using System.Globalization;
using E2LLM.Costs;
using E2LLM.Samples.EdgeCluster;
using E2LLM.Samples.EdgeCluster.Fidelity;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>What the emulation of the main sample promises (its measured figures are in benchmarks/SIMULATION.md), and the arithmetic of its comparison.</summary>
public sealed class FidelityTests
{
    [Fact]
    public void Deadline_Wait_NeverReturnsEarly()
    {
        foreach (double milliseconds in (double[])[-5, 0, 0.02, 0.3, 1, 2.7])
        {
            long due = Stopwatch.GetTimestamp() + (long)(milliseconds * Stopwatch.Frequency / 1000);
            Deadline.Wait(due);
            Assert.True(Stopwatch.GetTimestamp() >= due);
        }
    }

    [Fact]
    public void Pace_OfManyMessages_CountsFromTheFirstInsteadOfAddingUpDelays()
    {
        // 1,000 bytes a second; each message is handed over 3 ms later than the one before was due, but the first hundred are ahead: their wire is never idle.
        var pace = new Pace(1000);
        long second = Stopwatch.Frequency, began = 5 * second;
        for (int i = 0; i < 100; i++)
        {
            Assert.Equal(began + ((i + 1) * second / 10), pace.Through(began + (i * second / 1000), 100), 100.0);
        }

        // One that comes when all are through begins at once.
        Assert.Equal(began + (21 * second), pace.Through(began + (20 * second), 1000), 100.0);
    }

    [Theory]
    [InlineData(1.0)]
    [InlineData(0.5)]
    [InlineData(2.0)]
    public void SteadyClock_OnAMachineThatIsSlowerOrFaster_CountsTheSameWorkAlike(double speed)
    {
        // A tenth of the yardsticks are disturbed by other threads. A million steps of work take a second of a nominal machine, so 1 / speed of this one.
        var work = new ManualTime();
        int measured = 0;
        using var clock = new SteadyClock(work, () => SteadyClock.NominalSeconds / speed * (measured++ % 10 == 0 ? 50 : 1), TimeSpan.FromHours(1));
        Assert.InRange(measured, 15, int.MaxValue);
        long began = clock.GetTimestamp();
        work.Advance(TimeSpan.FromSeconds(1 / speed));
        Assert.Equal(1, clock.GetElapsedTime(began).TotalSeconds, 1e-6);
    }

    [Fact]
    public void Emulation_AsArguments_IsReadBackAsItWas()
    {
        var emulation = new Emulation(123.456789012345, "/some where/cluster.json", "m.gguf", new LayerRange(2, 5), IsFirst: true);
        Assert.Equal(emulation, Emulation.Parse(emulation.ToArguments()));
    }

    [Fact]
    public void WithProfiles_SlowsEverythingThatWasMeasured()
    {
        var cluster = Cluster.Parse("""
            { "devices": [
                { "name": "a", "memoryBytes": 1000, "computeFlopsPerSecond": 1, "memoryBytesPerSecond": 1, "stageOverheadSeconds": 9 },
                { "name": "b", "memoryBytes": 1000, "computeFlopsPerSecond": 1, "memoryBytesPerSecond": 1, "stageOverheadSeconds": 9 } ],
              "links": { "default": { "bytesPerSecond": 1, "roundTripSeconds": 1 } } }
            """);
        DeviceProfile measured = cluster.Devices[0] with
        {
            StageOverheadSeconds = 0.5,
            Profile = new MeasuredProfile { Prefill = [new PrefillPoint(4, 0, 2)], Decode = [new DecodePoint(1, 0, 3)], HeadSeconds = 5, EmbeddingSeconds = 7 },
        };
        Cluster emulated = EmulatedCluster.WithProfiles(cluster, name => name == "a" ? measured : null, new Dictionary<string, double> { ["a"] = 10, ["b"] = 20 });
        (DeviceProfile slow, DeviceProfile other) = (emulated.Devices[0], emulated.Devices[1]);
        Assert.Equal((5, 20, 30, 50, 70), (slow.StageOverheadSeconds, slow.Profile!.Prefill[0].SecondsPerLayer, slow.Profile.Decode[0].SecondsPerLayer, slow.Profile.HeadSeconds, slow.Profile.EmbeddingSeconds));
        Assert.Equal(cluster.Devices[1], other);
    }

    [Fact]
    public void AloneRoutes_TakesTheMeanOfRepetitionsAndTheBestRoute()
    {
        MeasuredRequest[] slow = [Request(32, 3, 1, 2, "r0"), Request(32, 3, 3, 2, "r0"), Request(64, 3, 9, 1, "r0")], fast = [Request(32, 3, 1, 1, "r1"), Request(64, 3, 12, 1, "r1")];
        var routes = new AloneRoutes([slow, fast]);
        Assert.Equal([2.0, 9, 1, 12], routes.Means.Select(one => one.TtftSeconds));
        Assert.Equal("r1", routes[Request(32, 3, 0, 0, "")].Prefill);
        Assert.Equal("r0", routes[Request(64, 3, 0, 0, "")].Prefill);
    }

    [Fact]
    public void Table_TellsTheMeanOfThreeErrorsAndHowManyRoutesAgree()
    {
        // Predicted: TTFT 1 and 1, TPOT 1 and 1, waiting (1 + 2) - 2 = 1. Measured: TTFT 2, TPOT 1, waiting (2 + 2) - 2 = 2. Errors 50 %, 0 %, 50 %.
        var alone = new AloneRoutes([[Request(32, 3, 1, 0.5, "r0")]]);
        MeasuredRequest[] predicted = [Request(32, 3, 1, 1, "r0"), Request(32, 3, 1, 1, "r0")], measured = [Request(32, 3, 2, 1, "r0"), Request(32, 3, 2, 1, "r1")];
        using var output = new StringWriter(CultureInfo.InvariantCulture);
        FidelityTable.Write(output, predicted, alone, measured, alone, cores: 0.25);
        string table = output.ToString();
        Assert.Contains("| TTFT, mean | 1.0000 | 2.0000 | -50.0% |", table, StringComparison.Ordinal);
        Assert.Contains("| waiting, mean | 1.0000 | 2.0000 | -50.0% |", table, StringComparison.Ordinal);
        Assert.Contains("of the three means: 33.3 %. All stages together used 0.25 cores.", table, StringComparison.Ordinal);
        Assert.Contains("Of 2 requests 1 were read by the replica that was predicted, 2 generated by it.", table, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0", 0)]
    [InlineData("250", 250)]
    [InlineData("-1", null)]
    [InlineData("many", null)]
    public void Requests_OnTheCommandLine_AreANumberOrRefused(string text, int? expected)
    {
        Assert.Equal(expected is not null, DemoOptions.TryParse(["--fidelity", "--requests", text], out DemoOptions? options, out string? problem));
        Assert.Equal(expected, options?.Requests);
        Assert.Equal(expected is null ? $"--requests cannot be '{text}'" : null, problem);
    }

    private static MeasuredRequest Request(int prompt, int output, double ttft, double tpot, string prefill) => new(prompt, output, ttft, tpot, prefill, "d");
}
