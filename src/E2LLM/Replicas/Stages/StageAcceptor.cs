using System.Buffers;
using E2LLM.Diagnostics;
using E2LLM.Replicas.Connections;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Stages;

/// <summary>
/// Takes the frames of one connection that was opened to a stage: judges the hello, then turns frames into work for the stage loop. Everything
/// that came over the wire is checked here, on the connection's own turn; the loop gets only what makes sense.
/// </summary>
internal sealed class StageAcceptor(StageHost host, PeerConnection connection)
{
    private readonly QueuedSteps _queued = new();
    private HelloMessage? _hello;
    private StageSession? _session;
    private KvReceiver? _keysValues;
    private bool _attached;

    /// <summary>Work of this connection that the stage loop has not done; at most what steps of the largest size take.</summary>
    private readonly FrameBacklog _backlog = new(2L * host.Connections.Limits.MaxFrameBytes);

    /// <summary>Takes the first frame.</summary>
    public void OnHello(in Frame frame)
    {
        if (frame.Kind != FrameKind.Hello)
        {
            throw new KvTransferException("kind", frame.Offset + 6, $"Expected a hello, found a frame of kind {frame.Kind}.");
        }

        connection.Bound(_backlog);
        HelloMessage hello = HelloMessage.Read(frame);
        connection.Peer = hello.From;
        RejectMessage? reject = HelloJudge.Judge(host, hello, connection, out _session);
        var header = new HeaderWriter();
        if (reject is not null)
        {
            RuntimeLog.PeerRefused(host.Logger, hello.From, host.Name, reject.Reason, string.Join("; ", reject.Differences));
            reject.Write(header);
            connection.Send(FrameKind.Reject, header);
            connection.HandOver(static (in Frame _) => { });
            connection.CloseAfterSending();
            return;
        }

        _hello = hello;
        RuntimeLog.PeerConnected(host.Logger, hello.From, host.Name, hello.Purpose.ToString());
        ulong nonce = DialedPeer.NewNonce();
        var welcome = hello.Purpose == ConnectionPurpose.Load
            ? new WelcomeMessage(host.Name, nonce, 1, 0, 1, KvCodecBits.Of(host.Codecs))
            : new WelcomeMessage(
                host.Name, nonce, host.Executor.KvPool.Layout.BlockTokenCount, host.Executor.KvPool.BlockCount, host.Executor.MaxBatchTokenCount, KvCodecBits.Of(host.Codecs));
        connection.Send(welcome.ToFrame());
        connection.UseNonce(DialedPeer.Combine(hello.Nonce, nonce));
        connection.HandOver(hello.Purpose switch
        {
            ConnectionPurpose.Driver => OnDriverFrame,
            ConnectionPurpose.Chain => OnChainFrame,
            ConnectionPurpose.KeysValues => (_keysValues = new KvReceiver(host, connection, _session!.Id)).OnFrame,
            _ => Unexpected,
        });
        if (hello.Purpose == ConnectionPurpose.Load)
        {
            host.Track(host.Exchange.AnswerAsync(connection, hello));
        }
    }

    /// <summary>Tidies up after the connection.</summary>
    public void OnEnded()
    {
        if (_hello is null || _session is null)
        {
            return;
        }

        StageSession session = _session;
        string why = PeerLostException.Reasoning(connection.Error);
        switch (_hello.Purpose)
        {
            case ConnectionPurpose.Driver:
                host.Loop.Post(session.Shutdown);
                break;
            case ConnectionPurpose.Chain:
                session.Report(new FaultMessage(FaultCode.PeerLost, 0, _hello.From, why));
                break;
            default:
                _keysValues?.OnEnded(why);
                break;
        }
    }

    private void OnDriverFrame(in Frame frame)
    {
        StageSession session = _session!;
        if (frame.Kind == FrameKind.Attach)
        {
            if (_attached)
            {
                throw new KvTransferException("kind", frame.Offset + 6, "The stage was attached before.");
            }

            _attached = true;
            Attach(session, AttachMessage.Read(frame));
        }
        else if (host.Executor.Role.HasEmbedding && frame.Kind == FrameKind.Step)
        {
            PostStep(session, frame, sizeof(int));
        }
        else
        {
            OnSequenceFrame(session, frame);
        }
    }

    private void OnChainFrame(in Frame frame)
    {
        if (frame.Kind == FrameKind.Hidden && !host.Executor.Role.HasEmbedding)
        {
            PostStep(_session!, frame, checked(host.Executor.Shape.HiddenSize * sizeof(float)));
        }
        else
        {
            OnSequenceFrame(_session!, frame);
        }
    }

    private void OnSequenceFrame(StageSession session, in Frame frame)
    {
        switch (frame.Kind)
        {
            case FrameKind.SequenceOpen:
                SequenceOpenMessage open = SequenceOpenMessage.Read(frame);
                Post(frame, () => session.Open(open), ahead: true);
                break;
            case FrameKind.SequenceClose:
                SequenceCloseMessage close = SequenceCloseMessage.Read(frame);

                // A sequence that is through is forgotten at once, so that one that is opened next finds what it left; one with steps under way after them.
                Post(frame, () => session.Close(close), ahead: !_queued.Any(close.Sequence));
                break;
            default:
                throw new KvTransferException("kind", frame.Offset + 6, $"A frame of kind {frame.Kind} is not expected here.");
        }
    }

    private void PostStep(StageSession session, in Frame frame, int bytesPerToken)
    {
        StepMessage step = StepMessage.Read(frame, bytesPerToken, host.Executor.MaxBatchTokenCount);
        byte[] payload = ArrayPool<byte>.Shared.Rent((int)frame.Payload.Length);
        frame.Payload.CopyTo(payload);
        _queued.Came(step);
        Post(
            frame,
            () =>
            {
                session.Step(step, payload, host.Stopping);
                _queued.Left(step);
            },
            ahead: false);
    }

    /// <summary>Has the stage loop do what a frame asks for, in its turn or ahead of what waits.</summary>
    private void Post(in Frame frame, Action work, bool ahead)
    {
        long bytes = frame.TotalBytes;
        _backlog.Add(bytes);
        _ = ahead ? host.Loop.PostAhead(Counted) : host.Loop.Post(Counted);

        void Counted()
        {
            try
            {
                work();
            }
            finally
            {
                _backlog.Done(bytes);
            }
        }
    }

    private void Attach(StageSession session, AttachMessage attach)
    {
        // Ahead like an opening, so that one which follows at once finds the stage attached.
        host.Loop.PostAhead(() => session.UseCodec(attach.KvCodec));
        if (attach.StageIndex == attach.StageCount - 1)
        {
            host.Loop.PostAhead(() => session.Attached(null));
            return;
        }

        host.Track(DialNextAsync(session, attach));
    }

    private async Task DialNextAsync(StageSession session, AttachMessage attach)
    {
        try
        {
            DialedPeer next = await host.DialAsync(
                ConnectionPurpose.Chain, attach.NextPeer, session.Id, attach.NextRole, Unexpected, [], connection.Ended).ConfigureAwait(false);
            host.Loop.PostAhead(() => session.Attached(next.Connection));
            await next.Connection.Completion.ConfigureAwait(false);
            host.LogEnd(next.Connection);
            session.Report(new FaultMessage(FaultCode.PeerLost, 0, attach.NextPeer, PeerLostException.Reasoning(next.Connection.Error)));
        }
        catch (OperationCanceledException)
        {
            // The driver left meanwhile; its session ends by itself.
        }
        catch (Exception error)
        {
            RuntimeLog.PeerLost(host.Logger, error, attach.NextPeer, host.Name, nameof(PeerLossReason.Unreachable));
            session.Report(new FaultMessage(FaultCode.PeerLost, 0, attach.NextPeer, PeerLostException.Reasoning(error)));
        }
    }

    private static void Unexpected(in Frame frame) =>
        throw new KvTransferException("kind", frame.Offset + 6, $"A stage sends nothing back up the chain; found a frame of kind {frame.Kind}.");
}
