using E2LLM.Deployment;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Replicas;
using E2LLM.Replicas.Connections;
using E2LLM.Replicas.Stages;
using E2LLM.Sampling;
using E2LLM.Tests.Support;
using E2LLM.Transfer;
using E2LLM.Weights;

namespace E2LLM.Tests.Replicas;

/// <summary>Layer 0 is computed where it is needed instead of moved. That no token changes, for every pair of cuts, is in <see cref="EveryCutTests"/>.</summary>
public sealed class FirstLayerTests
{
    [Theory]
    [InlineData(1), InlineData(31), InlineData(33), InlineData(64), InlineData(150)]
    public async Task Serve_ComputingIt_SavesALayerOfBytesAndComputesItOnce(int length)
    {
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        ServingRequest request = DispatcherTests.Request(length, 12);
        foreach (int[] cuts in new int[][] { [], [1], [3, 5] })
        {
            await using var cluster = new MemoryCluster { ComputesFirstLayer = true };
            await using (Dispatcher dispatcher = await cluster.DispatchAsync(
                new DispatcherOptions { NextTurnTokenCount = 0 }, cluster.Add("p", ReplicaRole.Prefill, 1, 4), cluster.Add("d", ReplicaRole.Decode, cuts)))
            {
                int computed = 0;
                for (int round = 0; round < 2; round++)
                {
                    ServedRequest served = dispatcher.Serve(request);
                    Assert.Equal(MemoryCluster.Reference(whole, request), await DispatcherTests.CollectAsync(served));

                    // The second time whole pages are there already; what is not is computed or moved.
                    int missing = length - (round == 0 ? 0 : (length - 1) / 64 * 64);
                    Assert.Equal(missing * 7L * 2 * 8 * 4, served.Report.KvTransferBytes);
                    Assert.Equal(computed += missing, cluster.Toy("d0").FirstLayerTokenCount);
                }

                Assert.Equal(computed, cluster.Toys.Sum(toy => toy.FirstLayerTokenCount));
            }

            await cluster.AssertEmptyAsync();
        }
    }

    [Theory]
    [InlineData(KvElementType.F32), InlineData(KvElementType.F16), InlineData(KvElementType.BF16), InlineData(KvElementType.Q8_0)]
    public void StoreFirstLayer_AnyModel_IsBitForBitWhatForwardStores(KvElementType type)
    {
        ModelShape plain = RandomModel.Llama() with { HeadDim = 32, RopeDimensionCount = 32 };
        foreach (ModelShape shape in new[] { plain, RandomModel.Qwen2() with { HeadDim = 32, RopeDimensionCount = 32 }, RandomModel.Qwen3() with { HeadDim = 32, RopeDimensionCount = 32 } })
        {
            using GgufFile file = GgufFile.Read(new RandomModel(shape, seed: 5).File());
            using ModelWeights weights = ModelWeights.Load(file, ModelShapeReader.Read(file), new LayerRange(0, shape.LayerCount), embedding: true, head: false);
            using var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = 2, KvElementType = type });
            int[] ids = [.. Enumerable.Range(0, 100).Select(i => i * 7 % shape.VocabularySize)];
            using KvCache whole = executor.CreateSequence(), alone = executor.CreateSequence();
            float[] hidden = new float[ids.Length * shape.HiddenSize];
            executor.Embed(ids, hidden);
            executor.Forward([new SequenceSlice(whole, ids.Length)], hidden);
            alone.Reserve(ids.Length);
            for (int first = 0; first < ids.Length; first += 30)
            {
                executor.StoreFirstLayer(alone, first, ids.AsSpan(first, Math.Min(30, ids.Length - first)));
            }

            Assert.Equal(0, alone.Length);
            alone.Extend(ids.Length);
            byte[] left = new byte[ids.Length * whole.Layout.TokenBytes], right = new byte[left.Length];
            whole.ReadKeys(0, 0, ids.Length, left);
            alone.ReadKeys(0, 0, ids.Length, right);
            Assert.Equal(left, right);
            whole.ReadValues(0, 0, ids.Length, left);
            alone.ReadValues(0, 0, ids.Length, right);
            Assert.Equal(left, right);
        }
    }

    [Theory]
    [InlineData(0, "needs the embedding and the ids")]
    [InlineData(-1, "")]
    public async Task Open_WithoutIdsOrWithAForeignOne_EndsTheSessionAndSaysWhy(int idCount, string why)
    {
        await using var cluster = new MemoryCluster { Model = new ModelIdentity(RandomModel.Llama(), new byte[32], new byte[32]) };
        using GgufFile file = GgufFile.Read(new RandomModel(RandomModel.Llama(), seed: 5).File());
        var layers = new LayerRange(0, RandomModel.Llama().LayerCount);
        ModelWeights weights = ModelWeights.Load(file, ModelShapeReader.Read(file), layers, embedding: true, head: true);
        cluster.Own(weights);
        cluster.Add("d", ReplicaRole.Decode, [], range =>
        {
            var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = 1, KvElementType = KvElementType.F32 });
            cluster.Own(executor);
            return new LayerRangeStageExecutor(executor);
        });
        var fault = new TaskCompletionSource<FaultMessage>();
        var hello = new HelloMessage
        {
            Purpose = ConnectionPurpose.Driver, From = "driver", To = "d0", Session = 5, Nonce = 0, Role = new StageRole(layers, true, true), ElementType = KvElementType.F32, Model = cluster.Model,
        };
        DialedPeer dialed = await DialedPeer.OpenAsync(cluster.ConnectAsync, hello, cluster.Connections, (in Frame frame) =>
        {
            if (frame.Kind == FrameKind.Fault)
            {
                fault.TrySetResult(FaultMessage.Read(frame));
            }
        }, CancellationToken.None);
        var attach = new HeaderWriter();
        new AttachMessage(0, 1, "", hello.Role, "").Write(attach);
        dialed.Connection.Send(FrameKind.Attach, attach);
        dialed.Connection.Send(new SequenceOpenMessage
        {
            Sequence = 1, CapacityTokenCount = 20, PromptTokenCount = 10, KnownTokenCount = 10, Imports = true, TokenHash = new byte[32], Sampling = new SamplingOptions(),
            ComputesFirstLayer = true, PromptIds = idCount == 0 ? [] : [1, 2, 3, int.MaxValue, 5, 6, 7, 8, 9, 10],
        }.ToFrame());
        FaultMessage told = await fault.Task.WaitAsync(TimeSpan.FromSeconds(20));
        Assert.Equal((FaultCode.StageFailed, 0ul), (told.Code, told.Sequence));
        Assert.Contains(why, told.Text, StringComparison.Ordinal);
        await dialed.Connection.DisposeAsync();
        await cluster.AssertEmptyAsync();
    }

    [Fact]
    public void SequenceOpen_MovingParts_ComesBackAndNonsenseIsRefused()
    {
        var open = new SequenceOpenMessage
        {
            Sequence = 1, CapacityTokenCount = 300, PromptTokenCount = 200, KnownTokenCount = 200, Imports = true, TokenHash = new byte[32], Sampling = new SamplingOptions(),
            AdoptsPages = true, ComputesFirstLayer = true, PromptIds = [.. Enumerable.Range(0, 200)], Pages = [default, default, default],
            Targets = [new KvTarget("a", 1, 2, new StageRole(new LayerRange(0, 4), true, false), 64), new KvTarget("b", 1, 2, new StageRole(new LayerRange(4, 8), false, true), 128)],
        };
        SequenceOpenMessage read = Through(open);
        Assert.Equal((true, true, 3), (read.AdoptsPages, read.ComputesFirstLayer, read.Pages.Count));
        Assert.Equal(open.PromptIds, read.PromptIds);
        Assert.Equal(open.Targets, read.Targets);
        Assert.Equal(new LayerRange(1, 4), read.Moved(new LayerRange(0, 4)));
        Assert.Equal(new LayerRange(4, 8), read.Moved(new LayerRange(4, 8)));
        Assert.Equal("moves", Assert.Throws<KvTransferException>(() => Through(open with { PromptIds = [1, 2] })).Field);
        Assert.Equal("firstPosition", Assert.Throws<KvTransferException>(() => Through(open with { Targets = [open.Targets[0] with { FirstPosition = 200 }] })).Field);
        Assert.Equal("payloadBytes", Assert.Throws<KvTransferException>(() => Through(open, cutPayload: 97)).Field);
    }

    [Fact]
    public void Welcome_OfAnOlderStage_SaysThatItMovesNoParts()
    {
        OutgoingFrame welcome = new WelcomeMessage("a", 1, 64, 10, 512, 1).ToFrame();
        Assert.Equal(Frame.VersionMinor, WelcomeMessage.Read(FrameOf(welcome, welcome.Payload)).Minor);
        OutgoingFrame older = OutgoingFrame.WithoutPayload(FrameKind.Welcome, welcome.Header[..^1].ToArray());
        Assert.Equal(1, WelcomeMessage.Read(FrameOf(older, older.Payload)).Minor);
    }

    private static SequenceOpenMessage Through(SequenceOpenMessage open, int cutPayload = 0)
    {
        OutgoingFrame frame = open.ToFrame();
        return SequenceOpenMessage.Read(FrameOf(frame, frame.Payload[cutPayload..]));
    }

    private static Frame FrameOf(in OutgoingFrame frame, ReadOnlyMemory<byte> payload) => new()
    {
        Kind = frame.Kind, Minor = frame.Minor, Sequence = 0, Nonce = 0, Offset = 0,
        Header = new System.Buffers.ReadOnlySequence<byte>(frame.Header), Payload = new System.Buffers.ReadOnlySequence<byte>(payload),
    };
}
