using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Sampling;

namespace E2LLM.Tests.Replicas;

/// <summary>Whatever the sampler looks at reaches it wherever it runs, and a loss changes nothing.</summary>
public sealed class SamplingTests
{
    private static readonly SamplingOptions Full = new()
    {
        Temperature = 9f, TopP = 0.97f, MinP = 0.001f, RepetitionPenalty = 1.6f, FrequencyPenalty = 5f, PresencePenalty = 7f, Seed = 77,
        LogitBias = new Dictionary<int, float> { [90] = 30f, [4] = float.NegativeInfinity, [17] = -10f },
    };

    [Theory]
    [InlineData(1), InlineData(5), InlineData(64), InlineData(int.MaxValue)]
    public async Task Serve_PenaltiesAndBias_GiveTheTokensOfOneProcess(int window)
    {
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        int[][] cuts = [[], [3], [2, 5]];
        foreach (int[] prefill in cuts)
        {
            foreach (int[] decode in cuts)
            {
                await using var cluster = new MemoryCluster();
                await using Dispatcher dispatcher = await cluster.DispatchAsync(
                    cluster.Add("p", ReplicaRole.Prefill, prefill), cluster.Add("d", ReplicaRole.Decode, decode), cluster.Add("m", ReplicaRole.Mixed, prefill));
                ServingRequest[] requests = [.. new[] { 1, 3, 40 }.Select((length, i) => DispatcherTests.Request(length, 50, Full with { PenaltyWindow = window }, i))];
                List<int>[] expected = [.. requests.Select(request => MemoryCluster.Reference(whole, request))];
                Assert.Equal(expected, await Task.WhenAll(requests.Select(request => DispatcherTests.CollectAsync(dispatcher.Serve(request)))));
            }
        }
    }

    [Fact]
    public void Reference_PenaltiesAndBias_MatterHere()
    {
        // Without this the tests above might compare two samplers that both ignore everything.
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        List<int> full = MemoryCluster.Reference(whole, DispatcherTests.Request(9, 50, Full));
        foreach (SamplingOptions other in new[]
        {
            Full with { RepetitionPenalty = 1f }, Full with { FrequencyPenalty = 0f }, Full with { PresencePenalty = 0f }, Full with { PenaltyWindow = 2 },
            Full with { LogitBias = new Dictionary<int, float>() },
        })
        {
            Assert.NotEqual(full, MemoryCluster.Reference(whole, DispatcherTests.Request(9, 50, other)));
        }
    }

    [Fact]
    public async Task Serve_LossMidway_GoesOnWithTheSamePenalties()
    {
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        ServingRequest request = DispatcherTests.Request(12, 60, Full with { PenaltyWindow = 20 });
        await using var cluster = new MemoryCluster();
        await using Dispatcher dispatcher = await cluster.DispatchAsync(
            cluster.Add("p", ReplicaRole.Prefill, 4), cluster.Add("d", ReplicaRole.Decode, 3), cluster.Add("e", ReplicaRole.Decode));
        ServedRequest served = dispatcher.Serve(request);
        var tokens = new List<int>();
        await foreach (int token in served)
        {
            tokens.Add(token);
            if (tokens.Count == 25)
            {
                cluster.Kill(served.Report.DecodeReplica == "d" ? "d1" : "e0");
            }
        }

        Assert.Equal(MemoryCluster.Reference(whole, request), tokens);
        Assert.Equal(1, served.Report.RecoveryCount);
    }

    [Fact]
    public async Task Serve_LogProbabilities_AreThoseOfOneProcess()
    {
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        await using var cluster = new MemoryCluster();
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("p", ReplicaRole.Prefill, 4), cluster.Add("d", ReplicaRole.Decode, 3));
        ServingRequest request = DispatcherTests.Request(12, 20, Full with { LogProbabilities = true, TopLogProbabilityCount = 4 });
        var choices = new List<TokenChoice>();
        await foreach (TokenChoice choice in dispatcher.Serve(request).ChoicesAsync())
        {
            choices.Add(choice);
        }

        Assert.Equal(MemoryCluster.Reference(whole, request), choices.Select(choice => choice.Id));
        var known = request.PromptIds.ToList();
        foreach (TokenChoice choice in choices)
        {
            // The same position in one process, alone.
            TokenChoice alone = MemoryCluster.Choose(whole, request.Sampling, known);
            Assert.Equal(alone.LogProbability, choice.LogProbability);
            Assert.Equal(alone.Top, choice.Top);
            Assert.Equal(4, choice.Top.Count);
            known.Add(choice.Id);
        }
    }
}
