using System.Buffers;
using E2LLM.KvCaching;

namespace E2LLM.Transfer;

/// <summary>Reads slices out of a sequence and codes them into buffers that it keeps. Not thread-safe.</summary>
internal sealed class KvSliceEncoder(IKvBlockCodec codec) : IDisposable
{
    /// <summary>A slice whose coded size is not below this part of the raw size is sent raw: decoding it would cost more than the bytes saved.</summary>
    private const double WorthCoding = 0.97;

    private byte[] _raw = [];
    private byte[] _coded = [];

    /// <summary>Positions per slice such that a slice stays near 1 MiB: small enough to interleave with other frames, large enough to carry its overhead.</summary>
    public static int TokensPerSlice(int tokenBytes) => (int)Math.Clamp((1L << 20) / tokenBytes, 1, 1 << 16);

    /// <summary>Codes one slice. <paramref name="payload"/> is valid until the next call.</summary>
    public KvSliceHeader Encode(ulong transferId, KvCache cache, int layer, KvPart part, int firstToken, int tokenCount, out ReadOnlyMemory<byte> payload)
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

        if (codec.Id != RawKvCodec.RawId)
        {
            Grow(ref _coded, codec.MaxCodedBytes(shape));
            int coded = codec.Encode(shape, raw, _coded);
            if (coded >= 0 && coded < rawBytes * WorthCoding)
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
