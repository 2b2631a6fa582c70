using System.IO.Pipelines;
using System.Text;
using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Samples;
using E2LLM.Tests.Support;
using E2LLM.Transfer;

namespace E2LLM.Tests.Replicas;

/// <summary>Peers that are not what they should be: other models, junk, silence.</summary>
public sealed class ConnectionFaultTests
{
    private static readonly TimeSpan Guard = TimeSpan.FromSeconds(20);

    [Fact]
    public async Task Connect_AnotherModelOrStage_IsRefusedAndTheFieldsListed()
    {
        await using var cluster = new MemoryCluster();
        ReplicaPlan plan = cluster.Add("a", ReplicaRole.Mixed, 4);
        ModelIdentity model = cluster.Model;
        byte[] other = [.. Enumerable.Repeat((byte)7, 32)];
        ModelShape shape = model.Shape;
        await Expect(plan, Changed(shape with { RopeTheta = 5 }), cluster.Options, "rope.freq_base");
        await Expect(plan, Changed(shape with { RopePositionDivisor = 4 }), cluster.Options, "rope.scaling.factor");
        await Expect(plan, Changed(shape with { KvHeadCount = 1 }), cluster.Options, "head_count_kv");
        await Expect(plan, Changed(shape with { HeadDim = 8 }), cluster.Options, "key_length");
        await Expect(plan, Changed(shape with { Architecture = "qwen3", HasQkNorm = true }), cluster.Options, "architecture", "qk_norm");
        await Expect(plan, new ModelIdentity(shape, other, model.WeightsHash), cluster.Options, "tokenizer_hash");
        await Expect(plan, new ModelIdentity(shape, model.TokenizerHash, other), cluster.Options, "weights_hash");
        await Expect(plan, model, cluster.Options with { KvElementType = KvElementType.F16 }, "elementType");
        ReplicaPlan shifted = plan with { Stages = [plan.Stages[0] with { Layers = new LayerRange(0, 3) }, plan.Stages[1] with { Layers = new LayerRange(3, 8) }] };
        await Expect(shifted, model, cluster.Options, "layers");
        ReplicaPlan swapped = plan with { Stages = [plan.Stages[0], plan.Stages[1] with { Device = "a0" }] };
        await Expect(swapped, model, cluster.Options, "layers", "embedding", "head");
        await cluster.AssertEmptyAsync();
        await using Replica right = await Replica.ConnectAsync(plan, model, cluster.ConnectAsync, cluster.Options);

        ModelIdentity Changed(ModelShape changed) => new(changed, model.TokenizerHash, model.WeightsHash);

        async Task Expect(ReplicaPlan asked, ModelIdentity claimed, ReplicaOptions options, params string[] fields)
        {
            HandshakeRejectedException thrown = await Assert.ThrowsAsync<HandshakeRejectedException>(() =>
                Replica.ConnectAsync(asked, claimed, cluster.ConnectAsync, options).WaitAsync(Guard));
            Assert.Equal(fields, thrown.Differences.Select(difference => difference.Field));
            Assert.All(thrown.Differences, difference => Assert.NotEqual(difference.Ours, difference.Theirs));
        }
    }

    [Fact]
    public async Task Connect_StreamLeadsToAnotherDevice_IsRefused()
    {
        await using var cluster = new MemoryCluster();
        ReplicaPlan plan = cluster.Add("a", ReplicaRole.Mixed);
        cluster.Add("b", ReplicaRole.Mixed);
        HandshakeRejectedException thrown = await Assert.ThrowsAsync<HandshakeRejectedException>(() =>
            Replica.ConnectAsync(plan, cluster.Model, (_, ct) => cluster.ConnectAsync("b0", ct), cluster.Options));
        Assert.Equal(("device", "a0", "b0"), (thrown.Differences[0].Field, thrown.Differences[0].Ours, thrown.Differences[0].Theirs));
    }

    [Fact]
    public async Task Connect_UnreachableDevice_NamesPeerAndStage()
    {
        await using var cluster = new MemoryCluster();
        ReplicaPlan plan = cluster.Add("a", ReplicaRole.Mixed, 4);
        cluster.Kill("a1");
        PeerLostException thrown = await Assert.ThrowsAsync<PeerLostException>(() => Replica.ConnectAsync(plan, cluster.Model, cluster.ConnectAsync, cluster.Options));
        Assert.Equal(("a1", 1, PeerLossReason.Unreachable), (thrown.Peer, thrown.StageIndex, thrown.Reason));
        await cluster.AssertEmptyAsync();
    }

    [Fact]
    public async Task Serve_JunkInsteadOfHello_EndsTheConnectionWithATypedReason()
    {
        await using var cluster = new MemoryCluster();
        cluster.Add("a", ReplicaRole.Mixed);
        var random = new Random(3);
        byte[] junk = new byte[10 << 10];
        random.NextBytes(junk);
        byte[] wrongVersion = new byte[40];
        "E2LF"u8.CopyTo(wrongVersion);
        byte[][] openings = [Encoding.ASCII.GetBytes("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), [0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3], junk, [0], wrongVersion, Hello()[..^1], [.. Hello().Take(20), .. junk]];
        PeerLostException?[] ends = await Task.WhenAll(Enumerable.Range(0, 100).Select(async i =>
        {
            (Stream near, Task<PeerLostException?> serving) = Open(cluster["a0"]);
            await using (near)
            {
                await near.WriteAsync(openings[i % openings.Length]);
                await near.FlushAsync();
            }

            return await serving.WaitAsync(Guard);
        }));
        Assert.All(ends, end => Assert.NotNull(end));
        Assert.Contains(ends, end => end!.Reason == PeerLossReason.Damaged && end.Message.Contains("magic", StringComparison.Ordinal));
        await cluster.AssertEmptyAsync();
    }

    [Fact]
    public async Task Serve_SilentOrTricklingPeer_IsLostInTime()
    {
        var time = new ManualTime();
        var connections = new ConnectionOptions { PeerTimeout = TimeSpan.FromSeconds(5), TimeProvider = time };
        await using var cluster = new MemoryCluster { Connections = connections };
        cluster.Add("a", ReplicaRole.Mixed);
        (Stream silent, Task<PeerLostException?> waiting) = Open(cluster["a0"]);
        (Stream trickling, Task<PeerLostException?> dripping) = Open(cluster["a0"]);
        byte[] hello = Hello();
        for (int second = 0; second < 5; second++)
        {
            await trickling.WriteAsync(hello.AsMemory(second, 1));
            await trickling.FlushAsync();
            Assert.False(waiting.IsCompleted || dripping.IsCompleted);
            time.Advance(TimeSpan.FromSeconds(1));
        }

        time.Advance(TimeSpan.FromSeconds(1.3));
        foreach (Task<PeerLostException?> task in new[] { waiting, dripping })
        {
            PeerLostException? end = await task.WaitAsync(Guard);
            Assert.Equal(PeerLossReason.TimedOut, end!.Reason);
            Assert.IsType<TimeoutException>(end.InnerException);
        }

        await silent.DisposeAsync();
        await trickling.DisposeAsync();
    }

    [Fact]
    public async Task Connect_PeerThatNeverAnswers_IsLostInTime()
    {
        var time = new ManualTime();
        await using var cluster = new MemoryCluster { Connections = new ConnectionOptions { PeerTimeout = TimeSpan.FromSeconds(5), TimeProvider = time } };
        ReplicaPlan plan = cluster.Add("a", ReplicaRole.Mixed);
        Pipe there = new(), back = new();
        Task<Replica> connecting = Replica.ConnectAsync(plan, cluster.Model,
            (_, _) => ValueTask.FromResult<Stream>(new E2LLM.Replicas.Connections.DuplexPipeStream(new PipeEnds(back.Reader, there.Writer))), cluster.Options);
        PeerLostException thrown = await AdvanceUntilAsync(time, Assert.ThrowsAsync<PeerLostException>(() => connecting));
        Assert.Equal(("a0", PeerLossReason.TimedOut), (thrown.Peer, thrown.Reason));
    }

    private static byte[] Hello()
    {
        var bytes = new System.Buffers.ArrayBufferWriter<byte>();
        new FrameWriter(bytes).Write(FrameKind.Hello, new byte[100], default);
        return bytes.WrittenSpan.ToArray();
    }

    private static (Stream Near, Task<PeerLostException?> Serving) Open(StageHost host)
    {
        Pipe there = new(), back = new();
        Task<PeerLostException?> serving = host.ServeAsync(new PipeEnds(there.Reader, back.Writer), CancellationToken.None);
        return (new E2LLM.Replicas.Connections.DuplexPipeStream(new PipeEnds(back.Reader, there.Writer)), serving);
    }

    /// <summary>Moves the clock in small steps, letting work settle in between, until the task ends.</summary>
    private static async Task<T> AdvanceUntilAsync<T>(ManualTime time, Task<T> task)
    {
        for (int i = 0; i < 1000 && !task.IsCompleted; i++)
        {
            time.Advance(TimeSpan.FromMilliseconds(250));
            await Task.Delay(20);
        }

        return await task.WaitAsync(Guard);
    }
}
