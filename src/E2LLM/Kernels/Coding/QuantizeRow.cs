using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.Coding;

/// <summary><c>q[i] = low byte of round((x[i] - offset[i]) * inverse[i])</c>, and back: <c>x[i] = q[i] * scale[i] + offset[i]</c>.</summary>
/// <remarks>
/// Shapes: all <c>[n]</c>; no overlap. Numerics: every step is rounded by itself (no fused multiply-add), ties to even, so all machines give the same bytes. The product
/// must lie within 2^22; the caller's scales see to it.
/// </remarks>
internal static unsafe class QuantizeRow
{
    /// <summary>1.5 x 2^23: a number added to it keeps its rounded value in the low bits, in two's complement.</summary>
    private const float Magic = 12_582_912f;

    internal static void Run(float* x, float* offset, float* inverse, int n, byte* q)
    {
        int i = 0;
        for (; i <= n - Vector256<byte>.Count; i += Vector256<byte>.Count)
        {
            Vector256<ushort> low = Vector256.Narrow(Round(x, offset, inverse, i), Round(x, offset, inverse, i + 8));
            Vector256<ushort> high = Vector256.Narrow(Round(x, offset, inverse, i + 16), Round(x, offset, inverse, i + 24));
            Vector256.Narrow(low, high).Store(q + i);
        }

        for (; i < n; i++)
        {
            float scaled = (x[i] - offset[i]) * inverse[i];
            q[i] = (byte)BitConverter.SingleToUInt32Bits(scaled + Magic);
        }
    }

    /// <summary>The way back, from signed bytes.</summary>
    internal static void Restore(sbyte* q, float* offset, float* scale, int n, float* x)
    {
        int i = 0;
        for (; i <= n - Vector256<sbyte>.Count; i += Vector256<sbyte>.Count)
        {
            (Vector256<short> low, Vector256<short> high) = Vector256.Widen(Vector256.Load(q + i));
            Restore(low, offset + i, scale + i, x + i);
            Restore(high, offset + i + 16, scale + i + 16, x + i + 16);
        }

        for (; i < n; i++)
        {
            float product = q[i] * scale[i];
            x[i] = product + offset[i];
        }
    }

    private static Vector256<uint> Round(float* x, float* offset, float* inverse, int i) =>
        (((Vector256.Load(x + i) - Vector256.Load(offset + i)) * Vector256.Load(inverse + i)) + Vector256.Create(Magic)).AsUInt32();

    private static void Restore(Vector256<short> q, float* offset, float* scale, float* x)
    {
        (Vector256<int> low, Vector256<int> high) = Vector256.Widen(q);
        ((Vector256.ConvertToSingle(low) * Vector256.Load(scale)) + Vector256.Load(offset)).Store(x);
        ((Vector256.ConvertToSingle(high) * Vector256.Load(scale + 8)) + Vector256.Load(offset + 8)).Store(x + 8);
    }
}
