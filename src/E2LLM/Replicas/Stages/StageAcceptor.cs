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
    private readonly Dictionary<ulong, ReceivedMessage> _messages = [];
    private HelloMessage? _hello;
    private StageSession? _session;
    private bool _attached;

    /// <summary>Takes the first frame.</summary>
    public void OnHello(in Frame frame)
    {
        if (frame.Kind != FrameKind.Hello)
        {
            throw new KvTransferException("kind", frame.Offset + 6, $"Expected a hello, found a frame of kind {frame.Kind}.");
        }

        HelloMessage hello = HelloMessage.Read(frame);
        connection.Peer = hello.From;
        RejectMessage? reject = Judge(hello);
        var header = new HeaderWriter();
        if (reject is not null)
        {
            reject.Write(header);
            connection.Send(FrameKind.Reject, header);
            connection.HandOver(static (in Frame _) => { });
            connection.CloseAfterSending();
            return;
        }

        ulong nonce = DialedPeer.NewNonce();
        var welcome = new WelcomeMessage(
            host.Name, nonce, host.Executor.KvPool.Layout.BlockTokenCount, host.Executor.KvPool.BlockCount, host.Executor.MaxBatchTokenCount, KvCodecBits.Of(host.Codecs));
        welcome.Write(header);
        connection.Send(FrameKind.Welcome, header);
        connection.UseNonce(DialedPeer.Combine(hello.Nonce, nonce));
        _hello = hello;
        connection.HandOver(hello.Purpose switch
        {
            ConnectionPurpose.Driver => OnDriverFrame,
            ConnectionPurpose.Chain => OnChainFrame,
            _ => OnKvFrame,
        });
    }

    /// <summary>Tidies up after the connection.</summary>
    public void OnEnded()
    {
        if (_hello is null || _session is null)
        {
            return;
        }

        StageSession session = _session;
        string why = connection.Error?.Message ?? "the connection ended.";
        switch (_hello.Purpose)
        {
            case ConnectionPurpose.Driver:
                host.Loop.Post(session.Shutdown);
                break;
            case ConnectionPurpose.Chain:
                session.Report(new FaultMessage(FaultCode.PeerLost, 0, _hello.From, why));
                break;
            default:
                foreach (ReceivedMessage message in _messages.Values)
                {
                    message.Session.Report(new FaultMessage(FaultCode.PeerLost, message.Sequence.Id, _hello.From, why));
                }

                break;
        }
    }

    private RejectMessage? Judge(HelloMessage hello)
    {
        List<IdentityDifference> differences = [.. host.Model.DifferencesFrom(hello.Model)];
        Compare("device", host.Name, hello.To);
        Compare("layers", host.Executor.Role.Layers.ToString(), hello.Role.Layers.ToString());
        Compare("embedding", host.Executor.Role.HasEmbedding ? "yes" : "no", hello.Role.HasEmbedding ? "yes" : "no");
        Compare("head", host.Executor.Role.HasHead ? "yes" : "no", hello.Role.HasHead ? "yes" : "no");
        Compare("elementType", host.Executor.KvPool.Layout.ElementType.ToString(), hello.ElementType.ToString());
        if (differences.Count > 0)
        {
            return new RejectMessage("model or stage differ:", differences);
        }

        if (hello.Purpose == ConnectionPurpose.Driver)
        {
            _session = new StageSession(host, hello.Session, connection);
            return host.Sessions.TryAdd(hello.Session, _session) ? null : new RejectMessage("the session exists already.", []);
        }

        return host.Sessions.TryGetValue(hello.Session, out _session)
            ? null
            : new RejectMessage("the session does not exist here: it ended, or this device was restarted.", []);

        void Compare(string field, string ours, string theirs)
        {
            if (!string.Equals(ours, theirs, StringComparison.Ordinal))
            {
                differences.Add(new IdentityDifference(field, ours, theirs));
            }
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
                host.Loop.Post(() => session.Open(open));
                break;
            case FrameKind.SequenceClose:
                ulong sequence = SequenceMessage.Read(frame).Sequence;
                host.Loop.Post(() => session.Close(sequence));
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
        host.Loop.Post(() => session.Step(step, payload, host.Stopping));
    }

    private void Attach(StageSession session, AttachMessage attach)
    {
        if (attach.StageIndex == attach.StageCount - 1)
        {
            host.Loop.Post(() => session.Attached(null));
            return;
        }

        host.Track(DialNextAsync(session, attach));
    }

    private async Task DialNextAsync(StageSession session, AttachMessage attach)
    {
        try
        {
            DialedPeer next = await host.DialAsync(
                ConnectionPurpose.Chain, attach.NextPeer, session.Id, attach.NextRole, Unexpected, connection.Ended).ConfigureAwait(false);
            host.Loop.Post(() => session.Attached(next.Connection));
            await next.Connection.Completion.ConfigureAwait(false);
            session.Report(new FaultMessage(FaultCode.PeerLost, 0, attach.NextPeer, next.Connection.Error?.Message ?? "the connection ended."));
        }
        catch (OperationCanceledException)
        {
            // The driver left meanwhile; its session ends by itself.
        }
        catch (Exception error)
        {
            session.Report(new FaultMessage(FaultCode.PeerLost, 0, attach.NextPeer, error.Message));
        }
    }

    private static void Unexpected(in Frame frame) =>
        throw new KvTransferException("kind", frame.Offset + 6, $"A stage sends nothing back up the chain; found a frame of kind {frame.Kind}.");

    private void OnKvFrame(in Frame frame)
    {
        switch (frame.Kind)
        {
            case FrameKind.KvBegin:
                KvTransferHeader begin = KvMessages.ReadBegin(frame, host.Connections.Limits);

                // A sequence that is unknown was cancelled while its keys and values were on their way: they are dropped.
                if (host.Imports.TryGetValue((_session!.Id, begin.TransferId), out (StageSession Session, StageSequence Sequence) target))
                {
                    if (!_messages.TryAdd(begin.TransferId, new ReceivedMessage(begin, target.Session, target.Sequence)))
                    {
                        throw new KvTransferException("transferId", frame.HeaderOffset, $"Transfer {begin.TransferId} began before.");
                    }

                    Guard(begin.TransferId, frame, static (message, in frame) => message.Sequence.Import!.Check(message.Header, frame.HeaderOffset));
                }

                break;
            case FrameKind.KvSlice:
                Guard(KvMessages.ReadSlice(frame).TransferId, frame, static (message, in frame) => message.Take(KvMessages.ReadSlice(frame), frame));
                break;
            case FrameKind.KvEnd:
                KvEndHeader end = KvMessages.ReadEnd(frame);
                if (_messages.TryGetValue(end.TransferId, out ReceivedMessage? ended) && Guard(end.TransferId, frame, static (message, in frame) => message.End(KvMessages.ReadEnd(frame), frame)))
                {
                    _messages.Remove(end.TransferId);
                    Confirm(ended);
                }

                break;
            case FrameKind.SequenceClose:
                _messages.Remove(SequenceMessage.Read(frame).Sequence);
                break;
            default:
                throw new KvTransferException("kind", frame.Offset + 6, $"A frame of kind {frame.Kind} is not expected among keys and values.");
        }
    }

    private void Confirm(ReceivedMessage message)
    {
        Telemetry.KvBytesCounter.Add(message.CodedBytes, new(Telemetry.DeviceTag, host.Name), new(Telemetry.PeerTag, connection.Peer));
        var header = new HeaderWriter();
        new SequenceMessage(message.Header.TransferId, (ulong)message.Header.PositionCount).Write(header);
        connection.Send(FrameKind.KvApplied, header);
        if (message.Sequence.Import!.IsComplete)
        {
            host.Loop.Post(() => message.Session.Imported(message.Sequence));
        }
    }

    /// <summary>Does something with a message; where its content is wrong both the sender and the receiver's driver are told, and the rest is dropped.</summary>
    private bool Guard(ulong transferId, in Frame frame, FrameAction action)
    {
        if (!_messages.TryGetValue(transferId, out ReceivedMessage? message))
        {
            return false;
        }

        try
        {
            action(message, frame);
            return true;
        }
        catch (KvTransferException error)
        {
            _messages.Remove(transferId);
            message.Sequence.Import!.Close();
            message.Session.Report(new FaultMessage(FaultCode.Transfer, message.Sequence.Id, connection.Peer, error.Message));
            var header = new HeaderWriter();
            new FaultMessage(FaultCode.Transfer, transferId, host.Name, error.Message).Write(header);
            connection.Send(FrameKind.Fault, header);
            return false;
        }
    }

    private delegate void FrameAction(ReceivedMessage message, in Frame frame);

    /// <summary>A KV message under way.</summary>
    private sealed class ReceivedMessage(KvTransferHeader header, StageSession session, StageSequence sequence)
    {
        private uint _slices;
        private ulong _rawBytes;

        public KvTransferHeader Header => header;

        public long CodedBytes { get; private set; }

        public StageSession Session => session;

        public StageSequence Sequence => sequence;

        public void Take(in KvSliceHeader slice, in Frame frame)
        {
            sequence.Import!.Write(header, slice, frame);
            _slices++;
            _rawBytes += slice.RawBytes;
            CodedBytes += frame.Payload.Length;
        }

        public void End(in KvEndHeader end, in Frame frame)
        {
            if (end.SliceCount != _slices || end.RawBytes != _rawBytes)
            {
                throw new KvTransferException("sliceCount", frame.HeaderOffset + 8, $"The end counts {end.SliceCount} slices and {end.RawBytes} bytes; {_slices} and {_rawBytes} came.");
            }
        }
    }
}
