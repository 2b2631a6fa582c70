using System.Diagnostics;
using System.Globalization;
using E2LLM.Simulation;
using E2LLM.Simulation.Validation;
using Xunit.Abstractions;

namespace E2LLM.Tests.Simulation;

/// <summary>Closed forms: the simulator is a queueing system, so its queues must wait as textbook queues do.</summary>
public class QueueTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(1, false, 0.5, 100_000)]
    [InlineData(1, false, 0.8, 700_000)]
    [InlineData(1, false, 0.9, 2_400_000)]
    [InlineData(1, true, 0.5, 60_000)]
    [InlineData(1, true, 0.8, 300_000)]
    [InlineData(1, true, 0.9, 800_000)]
    [InlineData(4, false, 0.5, 400_000)]
    [InlineData(4, false, 0.8, 900_000)]
    [InlineData(4, false, 0.9, 2_400_000)]
    public void MeanWait_OfATextbookQueue_CoversTheClosedForm(int servers, bool deterministic, double load, int count)
    {
        double exact = deterministic ? QueueExperiment.MD1(load) : QueueExperiment.MMc(servers, load);
        double sum = 0, squares = 0;
        for (ulong seed = 1; seed <= 5; seed++)
        {
            long start = Stopwatch.GetTimestamp();
            QueueOutcome outcome = QueueExperiment.Run(servers, load, deterministic, count, seed);
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"seed {seed}: {outcome.MeanWaitSeconds:F4} +- {outcome.HalfWidthSeconds:F4}, exact {exact:F4}, {outcome.Count / Stopwatch.GetElapsedTime(start).TotalSeconds:F0} requests/s"));
            Assert.InRange(outcome.HalfWidthSeconds / exact, 0, 0.05);
            Assert.InRange(Math.Abs(outcome.MeanWaitSeconds - exact), 0, 1.6 * outcome.HalfWidthSeconds);
            Assert.InRange(outcome.LittleError, 0, 1e-9);
            sum += outcome.MeanWaitSeconds;
            squares += outcome.HalfWidthSeconds * outcome.HalfWidthSeconds;
        }

        // Five single intervals of 95 % miss now and then; the interval of all five together is the test.
        Assert.InRange(Math.Abs((sum / 5) - exact), 0, Math.Sqrt(squares) / 5);
    }

    [Theory]
    [InlineData(1, false, 0.9)]
    [InlineData(1, true, 0.8)]
    [InlineData(4, false, 0.8)]
    public void MeanWait_OfTheSameRequests_IsThatOfTheRecursionWithoutEvents(int servers, bool deterministic, double load)
    {
        for (ulong seed = 1; seed <= 3; seed++)
        {
            double simulated = QueueExperiment.Run(servers, load, deterministic, 40_000, seed).MeanWaitSeconds;
            Assert.Equal(LindleyQueue.Run(servers, load, deterministic, 40_000, seed).MeanWaitSeconds, simulated, 1e-7);
        }
    }

    [Fact]
    public void Wait_InADD1QueueBelowCapacity_IsZero()
    {
        QueueOutcome outcome = QueueExperiment.Run([.. Enumerable.Range(0, 1000).Select(i => new SimulatedRequest(i, 10_000_000, 0))]);
        Assert.Equal(0, outcome.MeanWaitSeconds, 1e-12);
        Assert.Equal(1000, outcome.RequestSeconds, 1e-6);
    }

    [Theory]
    [InlineData(150, 0.5)]
    [InlineData(1000, 0.1)]
    public void Wait_InADeterministicOverload_FollowsTheStraightLine(int count, double period)
    {
        // Request i comes at i T and starts at i / mu: it waits i (1/mu - T), on average (n - 1)/2 times that.
        QueueOutcome outcome = QueueExperiment.Run([.. Enumerable.Range(0, count).Select(i => new SimulatedRequest(i * period, 10_000_000, 0))]);
        Assert.Equal((count - 1) / 2.0 * (1 - period), outcome.MeanWaitSeconds, 1e-9 * count);
        Assert.InRange(outcome.LittleError, 0, 1e-9);
    }

    [Fact]
    public void Run_WithTheSameSeed_RepeatsEveryEvent()
    {
        QueueOutcome first = QueueExperiment.Run(4, 0.9, false, 20_000, 3), second = QueueExperiment.Run(4, 0.9, false, 20_000, 3);
        Assert.Equal(first, second);
        Assert.NotEqual(first.LogHash, QueueExperiment.Run(4, 0.9, false, 20_000, 4).LogHash);
    }
}
