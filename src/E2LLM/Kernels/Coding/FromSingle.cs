using System.Runtime.Intrinsics;
using E2LLM.Kernels.Attention;

namespace E2LLM.Kernels.Coding;

/// <summary><c>y[i] = round(x[i])</c> to a plain float type, to nearest, ties to even.</summary>
/// <remarks>
/// Shapes: both <c>[count]</c>; no overlap. Numerics: as the conversions of <see cref="Half"/> and <see cref="EncodeKv.ToBFloat16"/>, bit for bit, for all
/// numbers and infinities; a NaN becomes the quiet one. The same bits at every width.
/// </remarks>
internal static unsafe class FromSingle
{
    /// <summary>Narrows <paramref name="count"/> floats to F32, F16 or BF16.</summary>
    internal static void Run(KvElementType type, float* x, long count, byte* y)
    {
        switch (type)
        {
            case KvElementType.F32:
                Buffer.MemoryCopy(x, y, count * sizeof(float), count * sizeof(float));
                break;
            case KvElementType.F16:
                ToHalf(x, count, (ushort*)y);
                break;
            case KvElementType.BF16:
                ToBFloat16(x, count, (ushort*)y);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(type), type, "Not a plain float type.");
        }
    }

    private static void ToHalf(float* x, long count, ushort* y)
    {
        long i = 0;
        for (; i <= count - Vector256<ushort>.Count; i += Vector256<ushort>.Count)
        {
            Vector256.Narrow(HalfBits(Vector256.Load(x + i)), HalfBits(Vector256.Load(x + i + Vector256<float>.Count))).Store(y + i);
        }

        for (; i < count; i++)
        {
            y[i] = float.IsNaN(x[i]) ? (ushort)(0x7E00 | (BitConverter.SingleToUInt32Bits(x[i]) >> 31 << 15)) : BitConverter.HalfToUInt16Bits((Half)x[i]);
        }
    }

    private static void ToBFloat16(float* x, long count, ushort* y)
    {
        long i = 0;
        for (; i <= count - Vector256<ushort>.Count; i += Vector256<ushort>.Count)
        {
            Vector256.Narrow(BFloat16Bits(Vector256.Load(x + i)), BFloat16Bits(Vector256.Load(x + i + Vector256<float>.Count))).Store(y + i);
        }

        for (; i < count; i++)
        {
            y[i] = float.IsNaN(x[i]) ? (ushort)(0x7FC0 | (BitConverter.SingleToUInt32Bits(x[i]) >> 31 << 15)) : EncodeKv.ToBFloat16(x[i]);
        }
    }

    /// <summary>
    /// Normal results: the exponent is lowered by 112 and 13 bits are rounded away. Subnormal ones: adding one half leaves the wanted bits at the low end, rounded by the
    /// addition itself. Too large ones end at infinity.
    /// </summary>
    private static Vector256<uint> HalfBits(Vector256<float> x)
    {
        Vector256<uint> bits = x.AsUInt32(), sign = (bits >> 16) & Vector256.Create(0x8000u), magnitude = bits & Vector256.Create(0x7FFF_FFFFu);
        Vector256<uint> normal = (magnitude - Vector256.Create(112u << 23) + Vector256.Create(0xFFFu) + ((magnitude >> 13) & Vector256<uint>.One)) >> 13;
        Vector256<uint> small = (magnitude.AsSingle() + Vector256.Create(0.5f)).AsUInt32() - Vector256.Create(0x3F00_0000u);
        Vector256<uint> result = Vector256.ConditionalSelect(Vector256.LessThan(magnitude.AsInt32(), Vector256.Create(113 << 23)).AsUInt32(), small, normal);
        result = Vector256.Min(result, Vector256.Create(0x7C00u));
        Vector256<uint> isNaN = Vector256.GreaterThan(magnitude.AsInt32(), Vector256.Create(0x7F80_0000)).AsUInt32();
        return Vector256.ConditionalSelect(isNaN, Vector256.Create(0x7E00u), result) | sign;
    }

    private static Vector256<uint> BFloat16Bits(Vector256<float> x)
    {
        Vector256<uint> bits = x.AsUInt32();
        Vector256<uint> rounded = (bits + Vector256.Create(0x7FFFu) + ((bits >> 16) & Vector256<uint>.One)) >> 16;
        Vector256<uint> isNaN = Vector256.GreaterThan((bits & Vector256.Create(0x7FFF_FFFFu)).AsInt32(), Vector256.Create(0x7F80_0000)).AsUInt32();
        return Vector256.ConditionalSelect(isNaN, Vector256.Create(0x7FC0u) | ((bits >> 16) & Vector256.Create(0x8000u)), rounded);
    }
}
