using System.Buffers;
using E2LLM.KvCaching;

namespace E2LLM.Transfer;

/// <summary>
/// Fills one sequence from KV messages, possibly several at once from stages that cut the layers otherwise. Atomic: slices go into reserved
/// positions behind <see cref="KvCache.Length"/>, where nobody reads, and only <see cref="Commit"/> makes all of them visible at once.
/// Thread-safe. Owns the sequence's reservation until committed; after <see cref="Close"/> nothing is written any more.
/// </summary>
internal sealed class KvImport
{
    /// <summary>Bytes of one decoded slice at most; senders cut at 1 MiB.</summary>
    private const int MaxSliceBytes = 64 << 20;

    /// <summary>Raw bytes that one coded byte may stand for at most: above what any codec here reaches on real data, so bombs stop at the header.</summary>
    private const int MaxRatio = 256;

    private readonly Lock _gate = new();
    private readonly KvCache _cache;
    private readonly KvTransferHeader _expected;
    private readonly KvCodecSet _codecs;
    private readonly bool _rejectNonFinite;
    private readonly KvSliceCoverage _coverage;
    private bool _closed;

    /// <summary>Prepares an import of all layers of <paramref name="cache"/>.</summary>
    /// <param name="cache">Target; positions up to the end of the import are reserved here.</param>
    /// <param name="expected">What every message must be: model, tokens, positions, geometry. Its layers are the cache's.</param>
    /// <param name="codecs">Codecs understood.</param>
    /// <param name="rejectNonFinite">Whether NaN and infinities are refused.</param>
    /// <exception cref="KvCacheFullException">The pool has too few blocks.</exception>
    public KvImport(KvCache cache, KvTransferHeader expected, KvCodecSet codecs, bool rejectNonFinite = true)
    {
        _cache = cache;
        _expected = expected;
        _codecs = codecs;
        _rejectNonFinite = rejectNonFinite;
        if (cache.Length != expected.FirstPosition)
        {
            throw new ArgumentException($"The sequence has {cache.Length} positions; the import starts at {expected.FirstPosition}.", nameof(expected));
        }

        cache.Reserve(checked(expected.FirstPosition + expected.PositionCount));
        _coverage = new KvSliceCoverage(expected.Layers, expected.FirstPosition, expected.PositionCount);
    }

    /// <summary>Whether all positions of all layers are there.</summary>
    public bool IsComplete
    {
        get
        {
            lock (_gate)
            {
                return _coverage.IsComplete;
            }
        }
    }

    /// <summary>Compares a message's header with what is expected here.</summary>
    /// <exception cref="KvTransferException">They differ; the message lists every field.</exception>
    public void Check(KvTransferHeader theirs, long offset)
    {
        List<IdentityDifference> differences = [];
        Compare("modelHash", Hex(_expected.ModelHash), Hex(theirs.ModelHash));
        Compare("tokenPrefixHash", Hex(_expected.TokenPrefixHash), Hex(theirs.TokenPrefixHash));
        Compare("firstPosition", $"{_expected.FirstPosition}", $"{theirs.FirstPosition}");
        Compare("positionCount", $"{_expected.PositionCount}", $"{theirs.PositionCount}");
        Compare("kvHeadCount", $"{_expected.KvHeadCount}", $"{theirs.KvHeadCount}");
        Compare("headDim", $"{_expected.HeadDim}", $"{theirs.HeadDim}");
        Compare("elementType", $"{_expected.ElementType}", $"{theirs.ElementType}");
        if (_expected.Layers.Intersect(theirs.Layers).Count == 0)
        {
            Compare("layers", $"{_expected.Layers}", $"{theirs.Layers}");
        }

        if (differences.Count > 0)
        {
            throw KvTransferException.Mismatch("KV message", offset, differences);
        }

        void Compare(string field, string ours, string their)
        {
            if (!string.Equals(ours, their, StringComparison.Ordinal))
            {
                differences.Add(new IdentityDifference(field, ours, their));
            }
        }

        static string Hex(ReadOnlyMemory<byte> bytes) => Convert.ToHexStringLower(bytes.Span);
    }

    /// <summary>Takes one slice: verifies it wholly, then writes it. A slice of a layer that this cache does not hold is verified and left.</summary>
    /// <param name="message">Header of the slice's message, checked before by <see cref="Check"/>.</param>
    /// <param name="slice">Header of the slice.</param>
    /// <param name="frame">The frame it came in.</param>
    /// <exception cref="KvTransferException">The slice does not fit its message, came before, or its payload is not what it says.</exception>
    public void Write(KvTransferHeader message, in KvSliceHeader slice, in Frame frame)
    {
        KvBlockShape shape = CheckShape(message, slice, frame);
        byte[]? rented = null;
        try
        {
            ReadOnlySpan<byte> raw = Decode(shape, slice, frame, ref rented);
            if (_rejectNonFinite && !KvFiniteness.AllFinite(shape.ElementType, raw))
            {
                throw new KvTransferException("payload", frame.PayloadOffset, $"{slice.Part} of layer {slice.Layer} hold a NaN or an infinity.");
            }

            lock (_gate)
            {
                if (_closed || !_expected.Layers.Contains(slice.Layer))
                {
                    return;
                }

                if (!_coverage.TryAdd(slice.Layer, slice.Part, slice.FirstToken, slice.TokenCount))
                {
                    throw new KvTransferException("firstToken", frame.HeaderOffset, $"{slice.Part} of layer {slice.Layer}, positions {slice.FirstToken} to {slice.FirstToken + slice.TokenCount - 1}, came before.");
                }

                if (slice.Part == KvPart.Keys)
                {
                    _cache.WriteKeys(slice.Layer, slice.FirstToken, slice.TokenCount, raw);
                }
                else
                {
                    _cache.WriteValues(slice.Layer, slice.FirstToken, slice.TokenCount, raw);
                }
            }
        }
        finally
        {
            if (rented is not null)
            {
                ArrayPool<byte>.Shared.Return(rented);
            }
        }
    }

    /// <summary>Makes the positions visible.</summary>
    /// <returns>Positions applied.</returns>
    /// <exception cref="KvTransferException">Something is missing; nothing was applied.</exception>
    public int Commit()
    {
        lock (_gate)
        {
            if (!_coverage.IsComplete)
            {
                throw new KvTransferException("sliceCount", 0, $"The KV message is incomplete: {_coverage.DescribeGap()} did not arrive.");
            }

            if (!_closed)
            {
                _closed = true;
                _cache.Extend(_expected.FirstPosition + _expected.PositionCount);
            }

            return _expected.PositionCount;
        }
    }

    /// <summary>Stops all writing; afterwards the sequence may be disposed. Does nothing after a commit.</summary>
    public void Close()
    {
        lock (_gate)
        {
            _closed = true;
        }
    }

    private static KvBlockShape CheckShape(KvTransferHeader message, in KvSliceHeader slice, in Frame frame)
    {
        long at = frame.HeaderOffset;
        if (!message.Layers.Contains(slice.Layer))
        {
            throw new KvTransferException("layer", at + 8, $"Layer {slice.Layer} is not in the message's {message.Layers}.");
        }

        long end = (long)slice.FirstToken + slice.TokenCount, messageEnd = (long)message.FirstPosition + message.PositionCount;
        if (slice.FirstToken < message.FirstPosition || end > messageEnd)
        {
            throw new KvTransferException("firstToken", at + 12, $"Positions [{slice.FirstToken}, {end}) are not in the message's [{message.FirstPosition}, {messageEnd}).");
        }

        var shape = new KvBlockShape(message.ElementType, slice.Part, slice.FirstToken, slice.TokenCount, message.KvHeadCount, message.HeadDim);
        if (slice.RawBytes != shape.RawBytes || shape.RawBytes > Math.Min(MaxSliceBytes, MaxRatio * frame.Payload.Length))
        {
            throw new KvTransferException("rawBytes", at + 24, $"rawBytes is {slice.RawBytes}; {slice.TokenCount} positions x {shape.TokenBytes} bytes are {shape.RawBytes}, the payload has {frame.Payload.Length}, and a slice has at most {MaxSliceBytes}.");
        }

        return shape;
    }

    private ReadOnlySpan<byte> Decode(in KvBlockShape shape, in KvSliceHeader slice, in Frame frame, ref byte[]? rented)
    {
        int rawBytes = (int)shape.RawBytes;
        if (slice.Codec == RawKvCodec.RawId)
        {
            if (frame.Payload.Length != rawBytes || slice.DecodedCrc != 0)
            {
                throw new KvTransferException("payloadBytes", frame.Offset + 12, $"A raw slice of {rawBytes} bytes came as {frame.Payload.Length} bytes, decoded checksum 0x{slice.DecodedCrc:X8} (expected 0).");
            }

            if (frame.Payload.IsSingleSegment)
            {
                return frame.Payload.FirstSpan;
            }

            rented = ArrayPool<byte>.Shared.Rent(rawBytes);
            frame.Payload.CopyTo(rented);
            return rented.AsSpan(0, rawBytes);
        }

        if (!_codecs.TryGet(slice.Codec, out IKvBlockCodec? codec))
        {
            throw new KvTransferException("codec", frame.HeaderOffset + 21, $"Codec {slice.Codec} is unknown here. Known: {_codecs.Describe()}.");
        }

        // A decoder may be bent to leave bytes unwritten; those of an earlier slice must not shine through.
        rented = ArrayPool<byte>.Shared.Rent(rawBytes);
        Span<byte> raw = rented.AsSpan(0, rawBytes);
        raw.Clear();
        if (!codec.TryDecode(shape, KvMessages.Contiguous(frame.Payload), raw))
        {
            throw new KvTransferException("payload", frame.PayloadOffset, $"The payload is not well formed for codec {codec.Name}.");
        }

        if (codec.IsLossless ? Crc32C.Compute(raw) != slice.DecodedCrc : slice.DecodedCrc != 0)
        {
            throw new KvTransferException("decodedCrc", frame.HeaderOffset + 28, $"The checksum of the bytes that codec {codec.Name} gives does not match.");
        }

        return raw;
    }
}
