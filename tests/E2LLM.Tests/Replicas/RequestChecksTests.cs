using E2LLM.Deployment;
using E2LLM.Generation;
using E2LLM.Replicas;
using E2LLM.Sampling;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Replicas;

/// <summary>What cannot work is refused where it is asked, by the name of the field, and what breaks later ends with a typed error.</summary>
public sealed class RequestChecksTests
{
    private static readonly SamplingOptions Outside = new() { LogitBias = new Dictionary<int, float> { [96] = 1f, [97] = 1f } };

    [Fact]
    public async Task Serve_WhatTheModelCannotTake_IsRefusedByNameBeforeAnythingRuns()
    {
        await using var cluster = new MemoryCluster();
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("m", ReplicaRole.Mixed, 4));
        ServingRequest good = DispatcherTests.Request(5, 4);
        Expect(good with { Sampling = Outside }, "LogitBias", 97);
        Expect(good with { Sampling = new SamplingOptions { TopP = 0f } }, "TopP", 0f);
        Expect(good with { PromptIds = [1, 97] }, "PromptIds[1]", 97);
        Expect(good with { PromptIds = [-1] }, "PromptIds[0]", -1);
        Expect(good with { PromptIds = new int[4096] }, "PromptIds", 4096);
        Expect(good with { MaxTokenCount = 0 }, "MaxTokenCount", 0);
        Assert.Equal(0, cluster.Toy("m0").ForwardCount);
        Assert.Equal(4, (await DispatcherTests.CollectAsync(dispatcher.Serve(good))).Count);

        void Expect(ServingRequest request, string field, object value)
        {
            var error = Assert.Throws<ArgumentOutOfRangeException>(() => dispatcher.Serve(request));
            Assert.Equal((field, value), (error.ParamName, error.ActualValue));
            Assert.Contains(field, error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Generator_BiasOutsideTheVocabulary_IsRefusedByName()
    {
        using TextGenerator generator = TextGenerator.Load(TestModel.OwnModel("q8_0"));
        var sampling = new SamplingOptions { LogitBias = new Dictionary<int, float> { [generator.Shape.VocabularySize] = 1f } };
        var error = Assert.Throws<ArgumentOutOfRangeException>(() => generator.GenerateAsync("x", new GenerationOptions { Sampling = sampling }));
        Assert.Equal("LogitBias", error.ParamName);
    }

    [Fact]
    public async Task Serve_OutputIsNotADistribution_FailsOnceAndForAll()
    {
        await using var cluster = new MemoryCluster();
        await using (Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("m", ReplicaRole.Mixed, 4)))
        {
            cluster.Toy("m1").BreaksLogits = true;
            ServedRequest served = dispatcher.Serve(DispatcherTests.Request(5, 4));
            var error = await Assert.ThrowsAsync<SequenceFailedException>(() => DispatcherTests.CollectAsync(served));
            Assert.Equal((false, "m1", 0), (error.IsRetryable, error.Peer, served.Report.RecoveryCount));
            Assert.Contains("The logit of token 5 at position 5 is NaN", error.Message, StringComparison.Ordinal);

            // The replica itself is sound.
            cluster.Toy("m1").BreaksLogits = false;
            Assert.Equal(4, (await DispatcherTests.CollectAsync(dispatcher.Serve(DispatcherTests.Request(5, 4)))).Count);
        }

        await cluster.AssertEmptyAsync();
    }
}
