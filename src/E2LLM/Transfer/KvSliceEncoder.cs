using System.Buffers;
using E2LLM.KvCaching;

namespace E2LLM.Transfer;

/// <summary>Reads slices out of a sequence and codes them into buffers that it keeps. Not thread-safe.</summary>
/// <param name="chooser">Says which codec is next, and learns how it did.</param>
/// <param name="clock">Times coding where the chooser measures.</param>
internal sealed class KvSliceEncoder(KvCodecChooser chooser, TimeProvider clock) : IDisposable
{
    private byte[] _raw = [];
    private byte[] _coded = [];
    private byte[] _decoded = [];

    /// <summary>Chooses the codecs.</summary>
    public KvCodecChooser Chooser => chooser;

    /// <summary>
    /// End of the slice that starts at a position: near 1 MiB, small enough to interleave with other frames, large enough to carry its overhead; and not across the edge of what the codec
    /// must leave exact.
    /// </summary>
    public int CutAt(int tokenBytes, int firstToken, int end, int messageEnd)
    {
        int tokens = (int)Math.Clamp((1L << 20) / tokenBytes, 1, 1 << 16);
        return Math.Min(chooser.EdgeAfter(firstToken, messageEnd), (int)Math.Min((long)firstToken + tokens, end));
    }

    /// <summary>Codes one slice. <paramref name="payload"/> is valid until the next call.</summary>
    /// <param name="transferId">Number of the message.</param>
    /// <param name="cache">Sequence to read.</param>
    /// <param name="layer">Layer.</param>
    /// <param name="part">Keys or values.</param>
    /// <param name="firstToken">First position.</param>
    /// <param name="tokenCount">Positions, as <see cref="CutAt"/> allows.</param>
    /// <param name="messageEnd">End of the message's positions.</param>
    /// <param name="payload">The bytes to send.</param>
    public KvSliceHeader Encode(ulong transferId, KvCache cache, int layer, KvPart part, int firstToken, int tokenCount, int messageEnd, out ReadOnlyMemory<byte> payload)
    {
        KvCacheLayout layout = cache.Layout;
        var shape = new KvBlockShape(layout.ElementType, part, firstToken, tokenCount, layout.KvHeadCount, layout.HeadDim);
        int rawBytes = checked((int)shape.RawBytes);
        Grow(ref _raw, rawBytes);
        Span<byte> raw = _raw.AsSpan(0, rawBytes);
        if (part == KvPart.Keys)
        {
            cache.ReadKeys(layer, firstToken, tokenCount, raw);
        }
        else
        {
            cache.ReadValues(layer, firstToken, tokenCount, raw);
        }

        IKvBlockCodec codec = chooser.Next(shape, messageEnd, out bool isTrial);
        if (codec.Id != RawKvCodec.RawId)
        {
            Grow(ref _coded, codec.MaxCodedBytes(shape));
            long start = clock.GetTimestamp();
            int coded = codec.Encode(shape, raw, _coded);
            double seconds = clock.GetElapsedTime(start).TotalSeconds;
            chooser.Learn(codec, rawBytes, coded < 0 ? rawBytes : coded, seconds, isTrial ? TimeDecoding(codec, shape, coded) : null);
            if (coded >= 0 && coded < rawBytes * KvCodecChooser.WorthCoding)
            {
                payload = _coded.AsMemory(0, coded);
                uint crc = codec.IsLossless ? Crc32C.Compute(raw) : 0;
                return new KvSliceHeader(transferId, layer, firstToken, tokenCount, part, codec.Id, (uint)rawBytes, crc);
            }
        }

        payload = _raw.AsMemory(0, rawBytes);
        return new KvSliceHeader(transferId, layer, firstToken, tokenCount, part, RawKvCodec.RawId, (uint)rawBytes, 0);
    }

    public void Dispose()
    {
        Grow(ref _raw, -1);
        Grow(ref _coded, -1);
        Grow(ref _decoded, -1);
    }

    /// <summary>What decoding costs here stands for what it costs the receiver, whose speed is not known.</summary>
    private double? TimeDecoding(IKvBlockCodec codec, in KvBlockShape shape, int coded)
    {
        if (coded < 0)
        {
            return null;
        }

        Grow(ref _decoded, (int)shape.RawBytes);
        long start = clock.GetTimestamp();
        codec.TryDecode(shape, _coded.AsSpan(0, coded), _decoded.AsSpan(0, (int)shape.RawBytes));
        return clock.GetElapsedTime(start).TotalSeconds;
    }

    /// <summary>Swaps a buffer for one that is large enough; a negative size gives it back.</summary>
    private static void Grow(ref byte[] buffer, int bytes)
    {
        if (buffer.Length >= bytes && bytes >= 0)
        {
            return;
        }

        if (buffer.Length > 0)
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        buffer = bytes > 0 ? ArrayPool<byte>.Shared.Rent(bytes) : [];
    }
}
