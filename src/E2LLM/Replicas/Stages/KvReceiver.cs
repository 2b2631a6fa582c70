using E2LLM.Diagnostics;
using E2LLM.Replicas.Connections;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Stages;

/// <summary>
/// Takes the keys and values that one prefill stage sends for sequences of one session. A message whose content is wrong ends that message alone.
/// Used by the connection, one frame at a time.
/// </summary>
internal sealed class KvReceiver(StageHost host, PeerConnection connection, ulong session)
{
    private readonly Dictionary<ulong, ReceivedMessage> _messages = [];

    /// <summary>Takes a frame.</summary>
    public void OnFrame(in Frame frame)
    {
        switch (frame.Kind)
        {
            case FrameKind.KvBegin:
                KvTransferHeader begin = KvMessages.ReadBegin(frame, host.Connections.Limits);

                // A sequence that is unknown was cancelled while its keys and values were on their way: they are dropped.
                if (host.Imports.TryGetValue((session, begin.TransferId), out (StageSession Session, StageSequence Sequence) target))
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

    /// <summary>The connection is over: whoever waits for a message that was under way on it is told.</summary>
    public void OnEnded(string why)
    {
        foreach (ReceivedMessage message in _messages.Values)
        {
            message.Session.Report(new FaultMessage(FaultCode.PeerLost, message.Sequence.Id, connection.Peer, why));
        }
    }

    private void Confirm(ReceivedMessage message)
    {
        RuntimeLog.KvTransferred(host.Logger, message.Header.TransferId, connection.Peer, host.Name, message.CodedBytes);
        Telemetry.KvBytesCounter.Add(message.CodedBytes, new(Telemetry.DeviceTag, host.Name), new(Telemetry.PeerTag, connection.Peer));
        var header = new HeaderWriter();
        new SequenceMessage(message.Header.TransferId, (ulong)message.Header.PositionCount).Write(header);
        connection.Send(FrameKind.KvApplied, header);
        if (message.Sequence.Import!.IsComplete)
        {
            host.Loop.PostAhead(() => message.Session.Imported(message.Sequence));
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
            RuntimeLog.KvTransferRefused(host.Logger, connection.Peer, transferId, host.Name, error.Message);
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
