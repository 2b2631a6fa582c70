using System.Buffers;
using System.Diagnostics;
using E2LLM.Deployment;
using E2LLM.Diagnostics;
using E2LLM.Replicas;
using E2LLM.Replicas.Connections;
using E2LLM.Sampling;
using E2LLM.Tests.Support;
using E2LLM.Transfer;

namespace E2LLM.Tests.Replicas;

/// <summary>One trace for a request, whichever processes it passes through, and what an older or hostile peer makes of it.</summary>
public sealed class TraceTests
{
    [Fact]
    public async Task Serve_Traced_HasOneActivityOfTheRequestAndOneOfEachStage()
    {
        using var stopped = new StoppedActivities();
        await using (var cluster = new MemoryCluster())
        {
            await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("trace-p", ReplicaRole.Prefill, 4), cluster.Add("trace-d", ReplicaRole.Decode, 3, 6));
            await DispatcherTests.CollectAsync(dispatcher.Serve(DispatcherTests.Request(20, 5)));
        }

        Activity[] stages = [.. stopped.All.Where(activity => activity.OperationName == Telemetry.StageActivity && Device(activity).StartsWith("trace-", StringComparison.Ordinal))];
        Assert.Equal(["trace-d0", "trace-d1", "trace-d2", "trace-p0", "trace-p1"], stages.Select(Device).Order());
        Activity request = stopped.All.Single(activity => activity.OperationName == Telemetry.RequestActivity && activity.GetTagItem("e2llm.replica.prefill") is "trace-p");
        Assert.All(stages, stage => Assert.Equal((request.TraceId, request.SpanId, true), (stage.TraceId, stage.ParentSpanId, stage.HasRemoteParent)));
        Assert.All(stages, stage => Assert.Equal(Device(stage)[6] == 'd', stage.GetTagItem("imports")));
        Assert.All(stages.Where(stage => stage.GetTagItem("imports") is false), stage => Assert.True((long)stage.GetTagItem("kv_bytes_sent")! > 0));

        static string Device(Activity activity) => (string)activity.GetTagItem(Telemetry.DeviceTag)!;
    }

    [Fact]
    public void SequenceOpen_WithAndWithoutTrace_SaysTheLowestVersionThatHasItsFields()
    {
        const string Trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        Assert.Equal((0, null), Read(Open(null)));
        Assert.Equal((1, Trace), Read(Open(Trace)));

        // A frame of version 1.0 has no such field, so bytes there are too many; a newer one may have more behind it.
        OutgoingFrame traced = Open(Trace);
        Assert.Equal("headerBytes", Assert.Throws<KvTransferException>(() => Read(traced with { Minor = 0 })).Field);
        Assert.Equal(Trace, Read(new OutgoingFrame(FrameKind.SequenceOpen, [.. traced.Header.Span, 0, 0, 0, 0, 0, 1, 2, 3], [], 0, rented: false) { Minor = Frame.VersionMinor + 1 }).Trace);
        foreach (string bad in new[] { "", "00", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", new string('0', 55), new string('x', 65) })
        {
            Assert.Equal("traceParent", Assert.Throws<KvTransferException>(() => Read(Open(bad))).Field);
        }
    }

    private static OutgoingFrame Open(string? trace) => new SequenceOpenMessage
    {
        Sequence = 1, CapacityTokenCount = 8, PromptTokenCount = 0, Imports = false, TokenHash = new byte[32], Sampling = new SamplingOptions(), KnownTokenCount = 4, TraceParent = trace,
    }.ToFrame();

    private static (int Minor, string? Trace) Read(OutgoingFrame outgoing)
    {
        byte[] prefix = new byte[Frame.PrefixBytes];
        FrameWriter.WritePrefix(prefix, outgoing.Kind, outgoing.Header.Span, outgoing.Payload.Span, 0, 0, outgoing.Minor);
        byte[] bytes = [.. prefix, .. outgoing.Header.Span, .. outgoing.Payload.Span];
        Assert.True(FrameScanner.TryScan(new ReadOnlySequence<byte>(bytes), 0, TransferLimits.Default, out Frame frame, out _));
        return (frame.Minor, SequenceOpenMessage.Read(frame).TraceParent);
    }
}
