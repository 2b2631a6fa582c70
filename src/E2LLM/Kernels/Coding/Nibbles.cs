using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.Coding;

/// <summary><c>packed[i] = q[i] + 16 * q[i + h]</c> with h = ceil(n / 2), and back. A missing last number counts as 0.</summary>
/// <remarks>Shapes: q <c>[n]</c>, numbers below 16; packed <c>[h]</c>; no overlap. Numerics: a copy.</remarks>
internal static unsafe class Nibbles
{
    internal static int Bytes(int n) => (n + 1) / 2;

    internal static void Pack(byte* q, int n, byte* packed)
    {
        int half = Bytes(n), pairs = n - half, i = 0;
        for (; i <= pairs - Vector256<byte>.Count; i += Vector256<byte>.Count)
        {
            // Numbers are below 16, so shifting 16-bit lanes moves nothing from byte to byte.
            (Vector256.Load(q + i) | (Vector256.Load(q + half + i).AsUInt16() << 4).AsByte()).Store(packed + i);
        }

        for (; i < half; i++)
        {
            packed[i] = (byte)(q[i] | (i < pairs ? q[half + i] << 4 : 0));
        }
    }

    internal static void Unpack(byte* packed, int n, byte* q)
    {
        int half = Bytes(n), pairs = n - half, i = 0;
        Vector256<byte> mask = Vector256.Create((byte)15);
        for (; i <= pairs - Vector256<byte>.Count; i += Vector256<byte>.Count)
        {
            Vector256<byte> both = Vector256.Load(packed + i);
            (both & mask).Store(q + i);
            ((both.AsUInt16() >> 4).AsByte() & mask).Store(q + half + i);
        }

        for (; i < half; i++)
        {
            q[i] = (byte)(packed[i] & 15);
            if (i < pairs)
            {
                q[half + i] = (byte)(packed[i] >> 4);
            }
        }
    }
}
