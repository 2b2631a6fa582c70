using System.Collections.Concurrent;
using System.Threading.Channels;
using E2LLM.Diagnostics;
using E2LLM.Replicas.Connections;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Stages;

/// <summary>
/// Sends keys and values of a prefill stage to one decode stage, layer by layer and chunk by chunk while the prompt is still being
/// computed. Reads them out of the sequence only when the peer has room, so a slow link costs no memory; the sequence lives until the peer
/// has confirmed.
/// </summary>
internal sealed class KvLink : IAsyncDisposable
{
    private readonly StageSession _session;
    private readonly KvTarget _peer;
    private readonly Channel<Chunk> _chunks = Channel.CreateUnbounded<Chunk>(new UnboundedChannelOptions { SingleReader = true });
    private readonly ConcurrentDictionary<ulong, Pending> _pending = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _running;
    private KvSliceEncoder? _encoder;
    private volatile PeerConnection? _connection;

    /// <summary>Opens the link in the background.</summary>
    public KvLink(StageSession session, KvTarget peer)
    {
        _session = session;
        _peer = peer;
        _running = Task.Run(RunAsync);
    }

    /// <summary>Whether the link broke: a new one is needed for the next sequence.</summary>
    public bool IsOver => _running.IsCompleted;

    /// <summary>Queues positions that are complete, the first ones of their message where it <paramref name="begins"/>. Called on the stage loop.</summary>
    public void Send(StageSequence sequence, KvTarget target, int layer, int firstPosition, int count, bool begins)
    {
        if (begins)
        {
            _pending[target.Sequence] = new Pending(sequence);
        }

        if (!_chunks.Writer.TryWrite(new Chunk(sequence, target, layer, firstPosition, count, begins)))
        {
            Fail(FaultCode.PeerLost, target.Sequence, "the link is closed.");
        }
    }

    /// <summary>Ends a message that was begun and is not confirmed: its sequence is closed. A receiver that never knew the sequence will not confirm it either. Called on the stage loop.</summary>
    public void GiveUp(StageSequence sequence, KvTarget target) => _chunks.Writer.TryWrite(new Chunk(sequence, target, -1, 0, 0, Begins: false));

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _running.ConfigureAwait(false);
        _stop.Dispose();
    }

    private async Task RunAsync()
    {
        string reason = "the link ended.";
        FaultCode code = FaultCode.PeerLost;
        try
        {
            DialedPeer dialed = await _session.Host.DialAsync(
                ConnectionPurpose.KeysValues, _peer.Peer, _peer.Session, _peer.Role, OnFrame, CodecName.Of(_session.CodecPolicy), _stop.Token).ConfigureAwait(false);
            PeerConnection connection = _connection = dialed.Connection;
            await using (connection.ConfigureAwait(false))
            {
                using CancellationTokenRegistration ended = connection.Ended.UnsafeRegister(static state => ((ChannelWriter<Chunk>)state!).TryComplete(), _chunks.Writer);
                var chooser = new KvCodecChooser(_session.CodecPolicy, codec => KvCodecBits.Contains(dialed.Welcome.Codecs, codec.Id));
                _encoder = new KvSliceEncoder(chooser, _session.Host.Connections.TimeProvider);
                await foreach (Chunk chunk in _chunks.Reader.ReadAllAsync(_stop.Token).ConfigureAwait(false))
                {
                    await SendAsync(connection, chunk).ConfigureAwait(false);
                }

                reason = connection.Error is { } error ? PeerLostException.Reasoning(error) : reason;
            }
        }
        catch (OperationCanceledException)
        {
            reason = "the session ended.";
        }
        catch (HandshakeRejectedException refused)
        {
            // The device is there, but these keys and values are not for it.
            (code, reason) = (FaultCode.Transfer, refused.Message);
        }
        catch (Exception error)
        {
            reason = PeerLostException.Reasoning(error);
        }
        finally
        {
            _encoder?.Dispose();
            _chunks.Writer.TryComplete();
            foreach (ulong sequence in _pending.Keys)
            {
                Fail(code, sequence, reason);
            }
        }
    }

    private async ValueTask SendAsync(PeerConnection connection, Chunk chunk)
    {
        if (!_pending.TryGetValue(chunk.Target.Sequence, out Pending? pending))
        {
            return;
        }

        if (chunk.Count == 0)
        {
            Withdraw(connection, chunk.Target.Sequence);
            return;
        }

        LayerRange layers = chunk.Sequence.Open.Moved(chunk.Target.Role.Layers.Intersect(_session.Host.Executor.Role.Layers));
        var header = new HeaderWriter();
        if (chunk.Begins)
        {
            KvMessages.Write(header, _session.Host.MessageHeader(chunk.Target.Sequence, layers, chunk.Sequence.Open, chunk.FirstPosition));
            connection.Send(FrameKind.KvBegin, header);
        }

        _encoder!.Chooser.LinkBytesPerSecond = connection.SentBytesPerSecond;
        int end = chunk.FirstPosition + chunk.Count;
        for (int first = chunk.FirstPosition, next; first < end; first = next)
        {
            next = _encoder.CutAt(chunk.Sequence.Cache.Layout.TokenBytes, first, end, chunk.Sequence.Open.PromptTokenCount);
            int count = next - first;
            if (!SendSlice(connection, chunk, pending, KvPart.Keys, first, count) || !SendSlice(connection, chunk, pending, KvPart.Values, first, count))
            {
                Withdraw(connection, chunk.Target.Sequence);
                return;
            }

            connection.SendHere();
            await connection.WaitForRoomAsync(_stop.Token).ConfigureAwait(false);
        }

        if (chunk.FirstPosition + chunk.Count == chunk.Sequence.Open.PromptTokenCount && chunk.Layer == layers.End - 1)
        {
            header.Clear();
            KvMessages.Write(header, new KvEndHeader(chunk.Target.Sequence, pending.SliceCount, pending.RawBytes));
            connection.Send(FrameKind.KvEnd, header);
        }
    }

    /// <summary>The request was cancelled: lets the receiver forget the message.</summary>
    private void Withdraw(PeerConnection connection, ulong targetSequence)
    {
        _pending.TryRemove(targetSequence, out _);
        var header = new HeaderWriter();
        new SequenceMessage(targetSequence, 0).Write(header);
        connection.Send(FrameKind.SequenceClose, header);
    }

    private bool SendSlice(PeerConnection connection, Chunk chunk, Pending pending, KvPart part, int first, int count) => chunk.Sequence.TryUse(
        (Link: this, Connection: connection, Pending: pending, Id: chunk.Target.Sequence, chunk.Layer, Part: part, First: first, Count: count, End: chunk.Sequence.Open.PromptTokenCount),
        static (cache, s) =>
        {
            KvSliceHeader slice = s.Link._encoder!.Encode(s.Id, cache, s.Layer, s.Part, s.First, s.Count, s.End, out ReadOnlyMemory<byte> payload);
            byte[] copy = System.Buffers.ArrayPool<byte>.Shared.Rent(payload.Length);
            payload.CopyTo(copy);
            var header = new HeaderWriter();
            KvMessages.Write(header, slice);
            s.Pending.SliceCount++;
            s.Pending.RawBytes += slice.RawBytes;
            s.Pending.CodedBytes += payload.Length;
            s.Connection.Queue(OutgoingFrame.WithRented(FrameKind.KvSlice, header.ToArray(), copy, payload.Length));
        });

    private void OnFrame(in Frame frame)
    {
        switch (frame.Kind)
        {
            case FrameKind.KvApplied:
                SequenceMessage applied = SequenceMessage.Read(frame);
                if (_pending.TryRemove(applied.Sequence, out Pending? pending))
                {
                    // Not told where codecs lose bits: computing layer 0 would give other bits than sending it, and text must not depend on rates.
                    double rate = _session.CodecPolicy.Codecs.All(codec => codec.IsLossless) && _connection is { } connection ? connection.SentBytesPerSecond : double.PositiveInfinity;
                    _session.Host.Loop.PostAhead(() => _session.TargetConfirmed(pending.Sequence, pending.CodedBytes, rate));
                }

                break;
            case FrameKind.Fault:
                FaultMessage fault = FaultMessage.Read(frame);
                Fail(FaultCode.Transfer, fault.Sequence, fault.Text);
                break;
            default:
                throw new KvTransferException("kind", frame.Offset + 6, $"A frame of kind {frame.Kind} is not expected by a sender of keys and values.");
        }
    }

    private void Fail(FaultCode code, ulong targetSequence, string text)
    {
        if (_pending.TryRemove(targetSequence, out Pending? pending))
        {
            RuntimeLog.KvTransferFailed(_session.Host.Logger, pending.Sequence.Id, _session.Host.Name, _peer.Peer, text);
            _session.Report(new FaultMessage(code, pending.Sequence.Id, _peer.Peer, text));
        }
    }

    private readonly record struct Chunk(StageSequence Sequence, KvTarget Target, int Layer, int FirstPosition, int Count, bool Begins);

    private sealed class Pending(StageSequence sequence)
    {
        public StageSequence Sequence => sequence;

        public uint SliceCount { get; set; }

        public ulong RawBytes { get; set; }

        public long CodedBytes { get; set; }
    }
}
