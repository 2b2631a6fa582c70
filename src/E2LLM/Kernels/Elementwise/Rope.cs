using System.Numerics;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.Elementwise;

/// <summary>
/// Rotary position embedding (Su et al. 2021) of one head: each pair <c>(a, b)</c> becomes <c>(a cos - b sin, a sin + b cos)</c>.
/// </summary>
/// <remarks>
/// Shapes: x <c>[headDim]</c>, of which the first <c>dimensions</c> are rotated; cosines and sines <c>[dimensions / 2]</c>. In place. Numerics: three roundings an
/// element, no fused operation, the same bits everywhere.
/// </remarks>
internal static unsafe class Rope
{
    /// <summary>Angles of one position: <c>angle[i] = position / divisor / factor[i] * theta^(-2 i / dimensions)</c>, in double precision.</summary>
    /// <param name="position">Zero-based.</param>
    /// <param name="inverseFrequencies"><c>[pairs]</c>, from <see cref="FillInverseFrequencies"/>.</param>
    /// <param name="pairs">Half of the rotated elements.</param>
    /// <param name="cosines">Output.</param>
    /// <param name="sines">Output.</param>
    internal static void FillAngles(int position, double* inverseFrequencies, int pairs, float* cosines, float* sines)
    {
        for (int i = 0; i < pairs; i++)
        {
            (double sine, double cosine) = Math.SinCos(position * inverseFrequencies[i]);
            cosines[i] = (float)cosine;
            sines[i] = (float)sine;
        }
    }

    /// <summary>What a position is multiplied by for each pair.</summary>
    /// <param name="theta">Base of the frequencies.</param>
    /// <param name="positionDivisor">Linear scaling: positions are divided by it.</param>
    /// <param name="factors">Per-pair divisors (llama-3), or empty for none.</param>
    /// <param name="inverseFrequencies">Output, one per pair.</param>
    internal static void FillInverseFrequencies(float theta, float positionDivisor, ReadOnlySpan<float> factors, Span<double> inverseFrequencies)
    {
        for (int i = 0; i < inverseFrequencies.Length; i++)
        {
            double factor = factors.IsEmpty ? 1.0 : factors[i];
            inverseFrequencies[i] = Math.Pow(theta, -(double)i / inverseFrequencies.Length) / (positionDivisor * factor);
        }
    }

    /// <summary>Rotates neighbours <c>(2i, 2i + 1)</c>.</summary>
    internal static void RotateInterleaved(float* x, float* cosines, float* sines, int pairs)
    {
        int whole = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            whole = RotateInterleaved<Vector512<float>, FloatLanes512>(x, cosines, sines, pairs);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            whole = RotateInterleaved<Vector128<float>, FloatLanes128>(x, cosines, sines, pairs);
        }

        RotateInterleaved<float, FloatLanesScalar>(x + (2 * whole), cosines + whole, sines + whole, pairs - whole);
    }

    /// <summary>Rotates halves <c>(i, i + pairs)</c>.</summary>
    internal static void RotateHalves(float* x, float* cosines, float* sines, int pairs)
    {
        int whole = pairs - (pairs % Vector<float>.Count);
        for (int i = 0; i < whole; i += Vector<float>.Count)
        {
            Vector<float> a = Vector.Load(x + i), b = Vector.Load(x + i + pairs), cosine = Vector.Load(cosines + i), sine = Vector.Load(sines + i);
            ((a * cosine) - (b * sine)).Store(x + i);
            ((a * sine) + (b * cosine)).Store(x + i + pairs);
        }

        for (int i = whole; i < pairs; i++)
        {
            float a = x[i], b = x[i + pairs];
            x[i] = (a * cosines[i]) - (b * sines[i]);
            x[i + pairs] = (a * sines[i]) + (b * cosines[i]);
        }
    }

    /// <summary>Rotates whole vectors of neighbours and says how many pairs these were: at a width of the caller's choice, for tests.</summary>
    internal static int RotateInterleaved<TVector, TLanes>(float* x, float* cosines, float* sines, int pairs)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        int whole = pairs - (pairs % TLanes.Count);
        for (int i = 0; i < whole; i += TLanes.Count)
        {
            TVector a = TLanes.LoadEven(x + (2 * i)), b = TLanes.LoadOdd(x + (2 * i)), cosine = TLanes.Load(cosines + i), sine = TLanes.Load(sines + i);
            TLanes.StoreInTurn(
                TLanes.Subtract(TLanes.Multiply(a, cosine), TLanes.Multiply(b, sine)), TLanes.Add(TLanes.Multiply(a, sine), TLanes.Multiply(b, cosine)), x + (2 * i));
        }

        return whole;
    }
}
