using System.Buffers.Binary;
using System.IO.Pipelines;
using E2LLM.Deployment;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Replicas.Connections;
using E2LLM.Replicas.Stages;
using E2LLM.Sampling;
using E2LLM.Tests.Support;
using E2LLM.Tests.Weights;
using E2LLM.Weights;

namespace E2LLM.Tests.Replicas;

/// <summary>Stages that start without a file: each gets its slice of the weights over the stream on which it then serves.</summary>
public sealed class SlicedStagesTests
{
    [Fact]
    public async Task Serve_StagesThatReceivedTheirWeights_GiveTheTokensOfOneProcess()
    {
        using GgufFile file = GgufFile.Open(TestModel.OwnModel("q8_0"));
        ModelIdentity model = ModelIdentityReader.Read(file);
        var options = new ExecutorOptions { ThreadCount = 1, KvElementType = KvElementType.F16, KvBlockCount = 32 };
        int layers = model.Shape.LayerCount;
        await using var cluster = new MemoryCluster { Model = model, ChunkTokenCount = 8 };
        ReplicaPlan prefill = cluster.Add("p", ReplicaRole.Prefill, [1], Receive);
        ReplicaPlan decode = cluster.Add("d", ReplicaRole.Decode, [layers / 2, layers - 1], Receive);
        await using var dispatcher = new Dispatcher(await Task.WhenAll(new[] { prefill, decode }.Select(plan =>
            Replica.ConnectAsync(plan, model, cluster.ConnectAsync, cluster.Options with { KvElementType = KvElementType.F16 }))));
        using var whole = new TestModel(TestModel.OwnModel("q8_0"), options);
        foreach (SamplingOptions sampling in new[] { new SamplingOptions(), new SamplingOptions { Temperature = 0.9f, Seed = 3 } })
        {
            var request = new ServingRequest { PromptIds = [1, 492, 480, 261, 423, 77, 300, 12, 55, 901], MaxTokenCount = 30, Sampling = sampling };
            Assert.Equal(MemoryCluster.Reference(new LayerRangeStageExecutor(whole.Executor), request), await DispatcherTests.CollectAsync(dispatcher.Serve(request)));
        }

        IStageExecutor Receive(LayerRange range)
        {
            byte[] slice = SliceTests.Slice(file, range, range.Start == 0, range.End == layers);
            ModelWeights weights = ModelWeights.Load(new SliceTests.OneWayStream(slice), out ModelIdentity identity);
            Assert.Empty(model.DifferencesFrom(identity));
            var executor = new LayerRangeExecutor(weights, options);
            cluster.Own(weights);
            cluster.Own(executor);
            return new LayerRangeStageExecutor(executor);
        }
    }

    [Fact]
    public async Task Serve_OnTheStreamThatBroughtTheWeights_Works()
    {
        using GgufFile file = GgufFile.Open(TestModel.OwnModel("q8_0"));
        ModelIdentity model = ModelIdentityReader.Read(file);
        int layers = model.Shape.LayerCount;
        Pipe there = new(), back = new();
        Task device = RunDeviceAsync(new DuplexPipeStream(new PipeEnds(there.Reader, back.Writer)));
        var stream = new DuplexPipeStream(new PipeEnds(back.Reader, there.Writer));

        // The host: the length, the slice, and then the stream is the driver's.
        byte[] slice = SliceTests.Slice(file, new LayerRange(0, layers), true, true);
        byte[] length = new byte[sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(length, slice.Length);
        await stream.WriteAsync(length);
        await stream.WriteAsync(slice);
        var plan = new ReplicaPlan { Name = "m", Role = ReplicaRole.Mixed, Stages = [new StagePlan { Device = "device", Layers = new LayerRange(0, layers), Embedding = true, Head = true }] };
        await using (var dispatcher = new Dispatcher([await Replica.ConnectAsync(plan, model, (_, _) => ValueTask.FromResult<Stream>(stream), new ReplicaOptions { KvElementType = KvElementType.F16 })]))
        {
            var request = new ServingRequest { PromptIds = [1, 492, 480], MaxTokenCount = 12 };
            using var whole = new TestModel(TestModel.OwnModel("q8_0"), new ExecutorOptions { ThreadCount = 1, KvElementType = KvElementType.F16 });
            Assert.Equal(MemoryCluster.Reference(new LayerRangeStageExecutor(whole.Executor), request), await DispatcherTests.CollectAsync(dispatcher.Serve(request)));
        }

        await device.WaitAsync(TimeSpan.FromSeconds(60));

        static async Task RunDeviceAsync(Stream stream)
        {
            byte[] length = new byte[sizeof(long)];
            await stream.ReadExactlyAsync(length);
            ModelIdentity? identity = null;
            using ModelWeights weights = await Task.Run(() => ModelWeights.Load(stream, out identity, BinaryPrimitives.ReadInt64LittleEndian(length)));
            using var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = 1, KvBlockCount = 8 });
            await using var host = new StageHost(executor, identity!, new StageHostOptions { Name = "device", Connect = (_, _) => throw new IOException("alone") });
            await host.ServeAsync(stream, CancellationToken.None);
        }
    }
}
