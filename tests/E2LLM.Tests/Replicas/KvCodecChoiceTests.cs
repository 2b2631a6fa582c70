using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Samples;
using E2LLM.Transfer;

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
