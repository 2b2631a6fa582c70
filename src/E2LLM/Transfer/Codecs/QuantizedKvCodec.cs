using System.Buffers;
using E2LLM.Kernels.Coding;
using E2LLM.Kernels.Quantization;

namespace E2LLM.Transfer.Codecs;

/// <summary>
/// Keys and values as 8-bit numbers (id 4) or 4-bit numbers (id 5). Keys are scaled per channel over 64 tokens, because single channels are large in all tokens; values per
/// token over 64 channels or a head, whichever is wider (KIVI, arXiv 2402.02750). Lossy; F32, F16 and BF16. Slices with NaN or infinities go raw. Stateless; thread-safe.
/// </summary>
public sealed unsafe class QuantizedKvCodec : IKvBlockCodec
{
    /// <summary>Tokens whose keys share a scale, and channels whose values do at least.</summary>
    private const int GroupTokens = 64, GroupChannels = 64;

    /// <summary>Number of the 4-bit codec on the wire.</summary>
    internal const byte Int4Id = 5;

    private const float LargestHalf = 65_504f, LargestBFloat16 = 3.38953139e38f;

    private readonly bool _isInt8;

    private QuantizedKvCodec(bool isInt8) => _isInt8 = isInt8;

    /// <summary>8 bits: about half of F16; differences to the unquantised text are rare (benchmarks/KV_TRANSFER.md).</summary>
    public static QuantizedKvCodec Int8 { get; } = new(isInt8: true);

    /// <summary>4 bits with an offset: about 3.5 times smaller than F16; changes text. Senders keep the first 4 and the last 64 tokens of a prompt exact.</summary>
    public static QuantizedKvCodec Int4 { get; } = new(isInt8: false);

    /// <inheritdoc/>
    public byte Id => _isInt8 ? (byte)4 : Int4Id;

    /// <inheritdoc/>
    public string Name => _isInt8 ? "int8" : "int4";

    /// <inheritdoc/>
    public bool IsLossless => false;

    /// <summary>Bytes of a group's factors per channel: a scale, and for 4 bits an offset, as bfloat16.</summary>
    private int FactorBytes => _isInt8 ? sizeof(ushort) : 2 * sizeof(ushort);

    /// <inheritdoc/>
    public int MaxCodedBytes(in KvBlockShape shape) => checked((int)CodedBytes(shape));

    /// <inheritdoc/>
    public int Encode(in KvBlockShape shape, ReadOnlySpan<byte> raw, Span<byte> coded)
    {
        if (shape.ElementType == KvElementType.Q8_0 || !KvFiniteness.AllFinite(shape.ElementType, raw))
        {
            return -1;
        }

        int channels = Channels(shape), group = Math.Min(GroupTokens, shape.TokenCount);
        float limit = shape.ElementType == KvElementType.F16 ? LargestHalf : LargestBFloat16;
        float[] rented = Scratch.Rent(group, channels);
        try
        {
            fixed (float* memory = rented)
            {
                fixed (byte* x = raw, y = coded)
                {
                    var scratch = new Scratch(memory, group, channels);
                    byte* next = y;
                    for (int token = 0; token < shape.TokenCount && next is not null; token += group)
                    {
                        int tokens = Math.Min(group, shape.TokenCount - token);
                        ToSingle.Run(shape.ElementType, x + ((long)token * shape.TokenBytes), (long)tokens * channels, scratch.Numbers);
                        next = shape.Part == KvPart.Keys
                            ? EncodeKeys(scratch, tokens, limit, next)
                            : EncodeValues(scratch, tokens, GroupWidth(shape), limit, next);
                    }

                    return next is null ? -1 : (int)(next - y);
                }
            }
        }
        finally
        {
            ArrayPool<float>.Shared.Return(rented);
        }
    }

    /// <inheritdoc/>
    public bool TryDecode(in KvBlockShape shape, ReadOnlySpan<byte> coded, Span<byte> raw)
    {
        if (shape.ElementType == KvElementType.Q8_0 || coded.Length != CodedBytes(shape))
        {
            return false;
        }

        int channels = Channels(shape), group = Math.Min(GroupTokens, shape.TokenCount);
        int width = shape.Part == KvPart.Keys ? 1 : GroupWidth(shape), rowsPerFactors = shape.Part == KvPart.Keys ? group : 1;
        float[] rented = Scratch.Rent(group, channels);
        try
        {
            fixed (float* memory = rented)
            {
                fixed (byte* x = coded, y = raw)
                {
                    var scratch = new Scratch(memory, group, channels);
                    byte* next = x;
                    for (int token = 0; token < shape.TokenCount; token += group)
                    {
                        int tokens = Math.Min(group, shape.TokenCount - token);
                        for (int t = 0; t < tokens; t++)
                        {
                            if (t % rowsPerFactors == 0 && !TryReadFactors(scratch, width, ref next))
                            {
                                return false;
                            }

                            next = RestoreRow(scratch, next, scratch.Row(t));
                        }

                        FromSingle.Run(shape.ElementType, scratch.Numbers, (long)tokens * channels, y + ((long)token * shape.TokenBytes));
                    }

                    return true;
                }
            }
        }
        finally
        {
            ArrayPool<float>.Shared.Return(rented);
        }
    }

    private static int Channels(in KvBlockShape shape) => checked(shape.KvHeadCount * shape.HeadDim);

    /// <summary>Channels of a token whose values share a scale: whole heads, at least 64 channels where the token has them.</summary>
    private static int GroupWidth(in KvBlockShape shape) => (GroupChannels + shape.HeadDim - 1) / shape.HeadDim * shape.HeadDim;

    private int RowBytes(int channels) => _isInt8 ? channels : Nibbles.Bytes(channels);

    private long CodedBytes(in KvBlockShape shape)
    {
        int channels = Channels(shape), groupWidth = GroupWidth(shape);
        long factors = shape.Part == KvPart.Keys
            ? (shape.TokenCount + GroupTokens - 1L) / GroupTokens * channels
            : (channels + groupWidth - 1L) / groupWidth * shape.TokenCount;
        return checked((factors * FactorBytes) + ((long)shape.TokenCount * RowBytes(channels)));
    }

    private byte* EncodeKeys(in Scratch scratch, int tokens, float limit, byte* next)
    {
        ColumnExtremes.Run(scratch.Numbers, tokens, scratch.Channels, scratch.Offsets, scratch.Scales);
        next = WriteFactors(scratch, 1, limit, next);
        for (int t = 0; t < tokens && next is not null; t++)
        {
            next = CodeRow(scratch, scratch.Row(t), next);
        }

        return next;
    }

    private byte* EncodeValues(in Scratch scratch, int tokens, int width, float limit, byte* next)
    {
        for (int t = 0; t < tokens && next is not null; t++)
        {
            float* row = scratch.Row(t);
            for (int first = 0; first < scratch.Channels; first += width)
            {
                RowExtremes.Run(row + first, Math.Min(width, scratch.Channels - first), out scratch.Offsets[first], out scratch.Scales[first]);
            }

            next = WriteFactors(scratch, width, limit, next);
            if (next is not null)
            {
                next = CodeRow(scratch, row, next);
            }
        }

        return next;
    }

    /// <summary>
    /// Turns least and most of each group (in Offsets and Scales, at the group's first channel) into stored factors, and spreads offset and inverse scale over its channels.
    /// The scale is rounded up, so that no number leaves the range. Null where a restored number could be larger than the element type can say.
    /// </summary>
    private byte* WriteFactors(in Scratch scratch, int width, float limit, byte* next)
    {
        for (int first = 0; first < scratch.Channels; first += width)
        {
            float least = scratch.Offsets[first], most = scratch.Scales[first], largest = Math.Max(Math.Abs(least), Math.Abs(most));
            ushort offset = _isInt8 ? (ushort)0 : DownToBFloat16(least);
            ushort scale = UpToBFloat16(_isInt8 ? largest / sbyte.MaxValue : (most / 15) - (Widen(offset) / 15));
            if (largest > limit - (2 * Widen(scale)))
            {
                return null;
            }

            *(ushort*)next = scale;
            next += sizeof(ushort);
            if (!_isInt8)
            {
                *(ushort*)next = offset;
                next += sizeof(ushort);
            }

            // A scale whose inverse is no number is one of numbers next to nothing: they become the offset.
            float inverse = 1 / Widen(scale);
            Spread(scratch, first, width, Widen(offset), float.IsFinite(inverse) ? inverse : 0);
        }

        return next;
    }

    /// <summary>Reads factors that may come from anyone: a scale that no sender writes is refused.</summary>
    private bool TryReadFactors(in Scratch scratch, int width, ref byte* next)
    {
        for (int first = 0; first < scratch.Channels; first += width)
        {
            float scale = Widen(*(ushort*)next), offset = _isInt8 ? 0 : Widen(*(ushort*)(next + sizeof(ushort)));
            next += FactorBytes;
            if (!(scale >= 0) || !float.IsFinite(scale) || !float.IsFinite(offset))
            {
                return false;
            }

            Spread(scratch, first, width, offset, scale);
        }

        return true;
    }

    private static void Spread(in Scratch scratch, int first, int width, float offset, float scale)
    {
        if (width == 1)
        {
            (scratch.Offsets[first], scratch.Scales[first]) = (offset, scale);
            return;
        }

        int count = Math.Min(width, scratch.Channels - first);
        new Span<float>(scratch.Offsets + first, count).Fill(offset);
        new Span<float>(scratch.Scales + first, count).Fill(scale);
    }

    private byte* CodeRow(in Scratch scratch, float* row, byte* next)
    {
        QuantizeRow.Run(row, scratch.Offsets, scratch.Scales, scratch.Channels, _isInt8 ? next : scratch.Quants);
        if (!_isInt8)
        {
            Nibbles.Pack(scratch.Quants, scratch.Channels, next);
        }

        return next + RowBytes(scratch.Channels);
    }

    private byte* RestoreRow(in Scratch scratch, byte* next, float* row)
    {
        if (!_isInt8)
        {
            Nibbles.Unpack(next, scratch.Channels, scratch.Quants);
        }

        QuantizeRow.Restore((sbyte*)(_isInt8 ? next : scratch.Quants), scratch.Offsets, scratch.Scales, scratch.Channels, row);
        return next + RowBytes(scratch.Channels);
    }

    private static float Widen(ushort bfloat16) => BitConverter.UInt32BitsToSingle((uint)bfloat16 << 16);

    /// <summary>The next bfloat16 at or above a number that is not negative.</summary>
    private static ushort UpToBFloat16(float value) => (ushort)((BitConverter.SingleToUInt32Bits(Math.Max(value, 0)) + 0xFFFF) >> 16);

    /// <summary>The next bfloat16 at or below a number: away from zero where it is negative.</summary>
    private static ushort DownToBFloat16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return (ushort)((value < 0 ? bits + 0xFFFF : bits) >> 16);
    }

    /// <summary>Working memory of one call: numbers of a group of tokens, factors of a row, and quants of a row.</summary>
    private readonly struct Scratch(float* memory, int tokens, int channels)
    {
        public int Channels => channels;

        public float* Numbers => memory;

        public float* Offsets => memory + ((nint)tokens * channels);

        public float* Scales => Offsets + channels;

        public byte* Quants => (byte*)(Scales + channels);

        public float* Row(int token) => memory + ((nint)token * channels);

        public static float[] Rent(int tokens, int channels) => ArrayPool<float>.Shared.Rent(checked((tokens + 3) * channels));
    }
}
