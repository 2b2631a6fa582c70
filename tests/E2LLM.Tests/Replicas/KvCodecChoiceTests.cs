using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Samples;
using E2LLM.Tests.Support;
using E2LLM.Transfer;
using E2LLM.Transfer.Codecs;

namespace E2LLM.Tests.Replicas;

/// <summary>Which codec keys and values take between real stages.</summary>
public sealed class KvCodecChoiceTests
{
    private const long Raw = 200L * 8 * 2 * 8 * 4;

    [Theory]
    [InlineData("byte-plane-lz4", null)]
    [InlineData(null, "byte-plane-lz4")]
    [InlineData("raw", "byte-plane-lz4")]
    public async Task Serve_CodecOfTheDriverOrThePlan_IsUsedByTheStages(string? options, string? plan)
    {
        (ServedRequest served, List<int> tokens, List<int> expected) = await ServeAsync(options, plan, null);
        Assert.Equal(expected, tokens);
        Assert.InRange(served.Report.KvTransferBytes, 1, Raw * 9 / 10);
    }

    [Fact]
    public async Task Serve_Int8_MovesAQuarterOfF32()
    {
        (ServedRequest served, List<int> tokens, _) = await ServeAsync("int8", null, null);
        Assert.Equal(10, tokens.Count);
        Assert.InRange(served.Report.KvTransferBytes, Raw / 5, Raw * 2 / 5);
    }

    [Fact]
    public async Task Serve_AutoOverASlowLink_CodesAndGivesTheTokensOfOneProcess()
    {
        // Each write of keys and values takes a millisecond: about 64 MB/s, well below what any codec does.
        (ServedRequest served, List<int> tokens, List<int> expected) = await ServeAsync("auto", null, stream => new SlowStream(stream));
        Assert.Equal(expected, tokens);
        Assert.InRange(served.Report.KvTransferBytes, 1, Raw * 98 / 100);
    }

    [Fact]
    public async Task Connect_UnknownCodec_IsATypedError()
    {
        await using var cluster = new MemoryCluster();
        ReplicaPlan plan = cluster.Add("p", ReplicaRole.Mixed, 4);
        ArgumentException wrong = await Assert.ThrowsAsync<ArgumentException>(() => Replica.ConnectAsync(plan, cluster.Model, cluster.ConnectAsync, cluster.Options with { KvCodec = "zip" }));
        Assert.Contains("auto-lossy", wrong.Message, StringComparison.Ordinal);
        Exception refused = await Assert.ThrowsAnyAsync<Exception>(() => Replica.ConnectAsync(plan with { KvCodec = "zip" }, cluster.Model, cluster.ConnectAsync, cluster.Options));
        Assert.Contains("zip", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("p", "d"), InlineData("d", "p")]
    public async Task Connect_CodecThatAStageLacks_ListsItAmongTheFieldsThatDiffer(string naming, string lacking)
    {
        // The plan names a codec for the one replica; a stage of either does not know it, and has other weights too.
        var lz4 = new KvCodecSet(Lz4KvCodec.Instance);
        await using var cluster = new MemoryCluster { HostOptions = options => options.Name[..1] == lacking ? options with { Codecs = lz4 } : options };
        ReplicaPlan p = cluster.Add("p", ReplicaRole.Mixed), d = cluster.Add("d", ReplicaRole.Mixed, 3);
        DeploymentPlan plan = ReplanTests.Plan(naming == "p" ? p with { KvCodec = "int8" } : p, naming == "d" ? d with { KvCodec = "int8" } : d);
        var other = new ModelIdentity(cluster.Model.Shape, cluster.Model.TokenizerHash, Enumerable.Repeat((byte)9, 32).ToArray());
        HandshakeRejectedException thrown = await Assert.ThrowsAsync<HandshakeRejectedException>(() => Dispatcher.ConnectAsync(plan, cluster.Model, cluster.ConnectAsync, cluster.Options));
        Assert.Equal([("codec", "4 (int8)", "0 (raw), 1 (lz4)")], thrown.Differences.Select(difference => (difference.Field, difference.Ours, difference.Theirs)));
        Assert.StartsWith(lacking, thrown.Peer, StringComparison.Ordinal);
        thrown = await Assert.ThrowsAsync<HandshakeRejectedException>(() => Replica.ConnectAsync((lacking == "p" ? p : d) with { KvCodec = "int8" }, other, cluster.ConnectAsync, cluster.Options));
        Assert.Equal(["weights_hash", "codec"], thrown.Differences.Select(difference => difference.Field));

        // Measured policies insist on none.
        await using Dispatcher negotiated = await Dispatcher.ConnectAsync(ReplanTests.Plan(p with { KvCodec = "auto" }, d), cluster.Model, cluster.ConnectAsync, cluster.Options with { KvCodec = "auto-lossy" });
    }

    [Fact]
    public async Task Serve_SenderInsistsOnACodecThatItsReceiverLacks_IsToldAndGoesWhereItNeedNotMove()
    {
        using var log = new CollectedLog();
        var lz4 = new KvCodecSet(Lz4KvCodec.Instance);
        await using var cluster = new MemoryCluster
        {
            HostOptions = options => (options.Name == "d0" ? options with { Codecs = lz4 } : options with { CodecPolicy = KvCodecPolicy.Always(QuantizedKvCodec.Int8) }) with { LoggerFactory = log },
        };
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        ServingRequest request = DispatcherTests.Request(100, 10);
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("p", ReplicaRole.Prefill), cluster.Add("d", ReplicaRole.Decode));
        ServedRequest served = dispatcher.Serve(request);
        Assert.Equal(MemoryCluster.Reference(whole, request), await DispatcherTests.CollectAsync(served));
        Assert.Equal(("p", 0L), (served.Report.DecodeReplica, served.Report.KvTransferBytes));
        Assert.Contains(log.All, entry => entry.Text.Contains("codec: ours 4 (int8), theirs 0 (raw), 1 (lz4)", StringComparison.Ordinal));
    }

    private static async Task<(ServedRequest Served, List<int> Tokens, List<int> Expected)> ServeAsync(string? options, string? plan, Func<Stream, Stream>? wrap)
    {
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        ServingRequest request = DispatcherTests.Request(200, 10);
        await using var cluster = new MemoryCluster { ChunkTokenCount = 50 };
        if (wrap is not null)
        {
            cluster.Wrap = (peer, stream) => peer.StartsWith('d') ? wrap(stream) : stream;
        }

        ReplicaPlan[] plans = [cluster.Add("p", ReplicaRole.Prefill, 4) with { KvCodec = plan }, cluster.Add("d", ReplicaRole.Decode, 3)];
        await using var dispatcher = new Dispatcher(await Task.WhenAll(plans.Select(one => Replica.ConnectAsync(one, cluster.Model, cluster.ConnectAsync, cluster.Options with { KvCodec = options }))));
        ServedRequest served = dispatcher.Serve(request);
        return (served, await DispatcherTests.CollectAsync(served), MemoryCluster.Reference(whole, request));
    }

    private sealed class SlowStream(Stream inner) : PassingStream(inner)
    {
        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (buffer.Length > 4096)
            {
                await Task.Delay(1, cancellationToken);
            }

            await base.WriteAsync(buffer, cancellationToken);
        }
    }
}
