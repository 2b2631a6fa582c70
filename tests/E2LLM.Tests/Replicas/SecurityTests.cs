using System.Buffers;
using System.Collections.Concurrent;
using System.IO.Pipelines;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using System.Security.Cryptography;
using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Replicas.Connections;
using E2LLM.Samples;
using E2LLM.Sampling;
using E2LLM.Tests.Support;
using E2LLM.Transfer;

namespace E2LLM.Tests.Replicas;

/// <summary>Encrypted streams, and peers that try to cost more than they may.</summary>
public sealed class SecurityTests
{
    [Fact]
    public async Task Serve_OverTls_GivesTheTokensOfOneProcessAndNothingInTheClear()
    {
        using X509Certificate2 certificate = SelfSigned();
        var wire = new ConcurrentBag<RecordingStream>();
        await using var cluster = new MemoryCluster
        {
            Secure = async (stream, accepts) =>
            {
                var recorded = new RecordingStream(stream);
                wire.Add(recorded);
                var secure = new SslStream(recorded, leaveInnerStreamOpen: false);
                await (accepts
                    ? secure.AuthenticateAsServerAsync(new SslServerAuthenticationOptions { ServerCertificate = certificate })
                    : secure.AuthenticateAsClientAsync(new SslClientAuthenticationOptions
                    {
                        TargetHost = "stage", RemoteCertificateValidationCallback = (_, theirs, _, _) => theirs!.GetCertHashString() == certificate.GetCertHashString(),
                    }));
                return secure;
            },
        };
        await using (Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("p", ReplicaRole.Prefill, 4), cluster.Add("d", ReplicaRole.Decode, 3, 6)))
        {
            using var whole = new ToyExecutor(8, new LayerRange(0, 8));
            ServingRequest request = DispatcherTests.Request(70, 20, new SamplingOptions { Temperature = 0.9f, Seed = 4 });
            ServedRequest served = dispatcher.Serve(request);
            Assert.Equal(MemoryCluster.Reference(whole, request), await DispatcherTests.CollectAsync(served));
            Assert.True(served.Report.KvTransferBytes > 0);
        }

        await cluster.AssertEmptyAsync();
        Assert.True(wire.Sum(stream => stream.Written.Length) > 20_000);
        Assert.All(wire, stream => Assert.Equal(-1, stream.Written.ToArray().AsSpan().IndexOf("E2LF"u8)));
    }

    [Fact]
    public async Task Serve_CertificateThatTheHostRefuses_IsAnUnreachablePeer()
    {
        using X509Certificate2 certificate = SelfSigned();
        await using var cluster = new MemoryCluster
        {
            Secure = async (stream, accepts) =>
            {
                var secure = new SslStream(stream, leaveInnerStreamOpen: false);
                await (accepts ? secure.AuthenticateAsServerAsync(certificate) : secure.AuthenticateAsClientAsync("stage"));
                return secure;
            },
        };
        PeerLostException thrown = await Assert.ThrowsAsync<PeerLostException>(() => cluster.DispatchAsync(cluster.Add("m", ReplicaRole.Mixed)));
        Assert.Equal(("m0", 0, PeerLossReason.Unreachable), (thrown.Peer, thrown.StageIndex, thrown.Reason));
    }

    [Fact]
    public async Task Send_PeerThatReadsNothing_StopsAtTheThresholdAndIsLostInTime()
    {
        var time = new ManualTime();
        var options = new ConnectionOptions { TimeProvider = time, SendQueueBytes = 1 << 20 };
        var beats = new ArrayBufferWriter<byte>();
        var writer = new FrameWriter(beats) { Nonce = 7 };
        using var stream = new FedStream(takesWrites: false);
        var connection = new PeerConnection(stream, "deaf", options);
        connection.Start((in Frame _) => { });
        connection.UseNonce(7);
        int sent = 0;
        while (connection.WaitForRoomAsync(CancellationToken.None).AsTask().IsCompleted)
        {
            connection.Send(OutgoingFrame.WithRented(FrameKind.KvSlice, [], new byte[1 << 16], 1 << 16));
            Assert.True(++sent < 100);
        }

        // A megabyte in frames of 64 KiB and their prefixes: what is queued is bounded, whatever there is to send.
        Assert.InRange(sent, 16, 17);
        for (int i = 0; i < 5; i++)
        {
            // It lives, and says so: only that it does not read is held against it.
            await BeatAsync();
            Assert.Null(connection.Error);
            time.Advance(TimeSpan.FromSeconds(1));
        }

        await BeatAsync();
        time.Advance(TimeSpan.FromSeconds(1.3));
        await connection.Completion.WaitAsync(TimeSpan.FromSeconds(20));
        PeerLostException lost = Assert.IsType<PeerLostException>(connection.Error);
        Assert.Equal(("deaf", PeerLossReason.TimedOut), (lost.Peer, lost.Reason));
        Assert.Contains("took no bytes", lost.Message, StringComparison.Ordinal);

        async Task BeatAsync()
        {
            beats.Clear();
            writer.Write(FrameKind.Heartbeat, default, default);
            await stream.FeedAsync(beats.WrittenMemory);
        }
    }

    [Fact]
    public async Task Serve_UntrustedLimits_RefuseALongHeaderBeforeItCame()
    {
        await using var cluster = new MemoryCluster { Connections = new ConnectionOptions { Limits = TransferLimits.Untrusted } };
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("m", ReplicaRole.Mixed, 4));
        Assert.Equal(5, (await DispatcherTests.CollectAsync(dispatcher.Serve(DispatcherTests.Request(30, 5)))).Count);
        Pipe there = new(), back = new();
        Task<PeerLostException?> serving = cluster["m0"].ServeAsync(new PipeEnds(there.Reader, back.Writer), CancellationToken.None);
        byte[] prefix = new byte[Frame.PrefixBytes];
        FrameWriter.WritePrefix(prefix, FrameKind.Hello, new byte[TransferLimits.Untrusted.MaxHeaderBytes + 1], default, 0, 0);
        await there.Writer.WriteAsync(prefix);
        PeerLostException? end = await serving.WaitAsync(TimeSpan.FromSeconds(20));
        Assert.Equal(PeerLossReason.Damaged, end!.Reason);
        Assert.Equal("headerBytes", Assert.IsType<KvTransferException>(end.InnerException).Field);
    }

    private static X509Certificate2 SelfSigned()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=stage", key, HashAlgorithmName.SHA256);
        using X509Certificate2 made = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        return X509CertificateLoader.LoadPkcs12(made.Export(X509ContentType.Pkcs12), password: null);
    }

    /// <summary>Keeps what was written.</summary>
    private sealed class RecordingStream(Stream inner) : PassingStream(inner)
    {
        public MemoryStream Written { get; } = new();

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            Written.Write(buffer.Span);
            return base.WriteAsync(buffer, cancellationToken);
        }
    }
}
