using System.Buffers;
using E2LLM.KvCaching;

namespace E2LLM.Transfer;

/// <summary>
/// Reads one KV message that is present as a whole. Believes nothing: every failure is a <see cref="KvTransferException"/> and leaves the target
/// as it was. Not thread-safe; the bytes must stay unchanged while the reader is used. Format: WIRE_FORMAT.md.
/// </summary>
public sealed class KvTransferReader
{
    private readonly TransferLimits _limits;
    private readonly KvCodecSet _codecs;
    private readonly ReadOnlySequence<byte> _slices;
    private readonly ulong _nonce;
    private readonly long _slicesOffset;

    /// <summary>Starts reading: the message's header is read and checked at once.</summary>
    /// <param name="bytes">The whole message, in any fragmentation.</param>
    /// <param name="limits">Caps; null takes <see cref="TransferLimits.Untrusted"/>.</param>
    /// <param name="codecs">Codecs understood; null takes <see cref="KvCodecSet.Default"/>.</param>
    /// <param name="nonce">Nonce that every frame must carry.</param>
    /// <exception cref="KvTransferException">The header is cut, damaged or not acceptable.</exception>
    public KvTransferReader(ReadOnlySequence<byte> bytes, TransferLimits? limits = null, KvCodecSet? codecs = null, ulong nonce = 0)
    {
        _limits = limits ?? TransferLimits.Untrusted;
        _limits.Validate();
        _codecs = codecs ?? KvCodecSet.Default;
        _nonce = nonce;
        Frame frame = Next(bytes, 0, 0);
        Expect(frame, FrameKind.KvBegin);
        Message = KvMessages.ReadBegin(frame, _limits);
        _slices = bytes.Slice(frame.TotalBytes);
        _slicesOffset = frame.TotalBytes;
    }

    /// <summary>What the message holds.</summary>
    public KvTransferHeader Message { get; }

    /// <summary>
    /// Appends the message's positions to a sequence: verifies every frame and that all are there, then applies them at once. A sequence that
    /// holds only some of the message's layers takes those.
    /// </summary>
    /// <param name="target">Sequence whose length is the message's first position.</param>
    /// <param name="model">Model of the target; its hash must be the message's.</param>
    /// <param name="tokens">Token ids from position zero to the end of the message: the message must be about these.</param>
    /// <param name="rejectNonFinite">Whether NaN and infinities in keys or values are refused.</param>
    /// <returns>Positions applied.</returns>
    /// <exception cref="KvTransferException">Anything is wrong with the bytes, or they belong to something else. The target is unchanged.</exception>
    /// <exception cref="KvCacheFullException">The target's pool has too few free blocks. The target is unchanged.</exception>
    /// <exception cref="ArgumentException">The target's length is not the message's first position.</exception>
    public int Import(KvCache target, ModelIdentity model, ReadOnlySpan<int> tokens, bool rejectNonFinite = true)
    {
        ArgumentNullException.ThrowIfNull(target);
        ArgumentNullException.ThrowIfNull(model);
        int before = target.Length;
        if (tokens.Length <= before)
        {
            throw new ArgumentException($"Expected the ids of all positions, more than the sequence's {before}; got {tokens.Length}.", nameof(tokens));
        }

        KvTransferHeader expected = KvTransferHeader.For(Message.TransferId, model, tokens, target.Layout, before);
        bool applied = false;
        try
        {
            var import = new KvImport(target, expected, _codecs, rejectNonFinite);
            import.Check(Message, 0);
            ReadSlices(import);
            int count = import.Commit();
            applied = true;
            return count;
        }
        finally
        {
            if (!applied)
            {
                target.Truncate(before);
            }
        }
    }

    private void ReadSlices(KvImport import)
    {
        ReadOnlySequence<byte> rest = _slices;
        long offset = _slicesOffset;
        uint slices = 0;
        ulong rawBytes = 0;
        for (ulong sequence = 1; ; sequence++)
        {
            Frame frame = Next(rest, offset, sequence);
            rest = rest.Slice(frame.TotalBytes);
            offset += frame.TotalBytes;
            if (frame.Kind == FrameKind.KvSlice)
            {
                KvSliceHeader slice = KvMessages.ReadSlice(frame);
                CheckTransfer(slice.TransferId, frame);
                import.Write(Message, slice, frame);
                slices++;
                rawBytes += slice.RawBytes;
                continue;
            }

            Expect(frame, FrameKind.KvEnd);
            KvEndHeader end = KvMessages.ReadEnd(frame);
            CheckTransfer(end.TransferId, frame);
            if (end.SliceCount != slices || end.RawBytes != rawBytes)
            {
                throw new KvTransferException("sliceCount", frame.HeaderOffset + 8, $"The end counts {end.SliceCount} slices and {end.RawBytes} bytes; {slices} and {rawBytes} came.");
            }

            if (!rest.IsEmpty)
            {
                throw new KvTransferException("payload", offset, $"{rest.Length} bytes follow the end of the message.");
            }

            return;
        }
    }

    private void CheckTransfer(ulong id, in Frame frame)
    {
        if (id != Message.TransferId)
        {
            throw new KvTransferException("transferId", frame.HeaderOffset, $"A frame of transfer {id} lies in the message of transfer {Message.TransferId}.");
        }
    }

    private Frame Next(in ReadOnlySequence<byte> bytes, long offset, ulong sequence)
    {
        if (!FrameScanner.TryScan(bytes, offset, _limits, out Frame frame, out long frameBytes))
        {
            throw new KvTransferException("payload", offset + bytes.Length, $"The message ends inside a frame: {bytes.Length} of {(frameBytes == 0 ? Frame.PrefixBytes : frameBytes)} bytes are there.");
        }

        if (frame.Sequence != sequence || frame.Nonce != _nonce)
        {
            throw new KvTransferException(frame.Nonce != _nonce ? "nonce" : "sequence", offset + (frame.Nonce != _nonce ? 24 : 16),
                $"Expected frame {sequence} of nonce {_nonce:X16}, found frame {frame.Sequence} of nonce {frame.Nonce:X16}.");
        }

        return frame;
    }

    private static void Expect(in Frame frame, FrameKind kind)
    {
        if (frame.Kind != kind)
        {
            throw new KvTransferException("kind", frame.Offset + 6, $"Expected a frame of kind {kind}, found {frame.Kind}.");
        }
    }
}
