using System.Runtime.CompilerServices;

namespace E2LLM.Kernels.Lanes;

/// <summary><c>exp(x)</c> of each lane in single precision: that of the runtime works in double precision, at several times the cost.</summary>
/// <remarks>
/// Numerics: relative error at most 1.0e-7 with fused multiply-add (two units in the last place), 3e-7 without; 0 below -87.33, where the result would be subnormal, and infinity from 88.37 on, a little before the largest
/// float; NaN stays NaN. The same bits at every width of a process, but that scalar multiply-add is never fused.
/// </remarks>
internal static class Exponential
{
    private const float Lowest = -87.33654f, Highest = 88.37f;

    // x = n ln 2 + r with |r| at most ln(2) / 2. Adding 1.5 * 2^23 rounds to whole numbers; ln 2 is cut so that n times its upper part is exact.
    private const float PerLn2 = 1.442695f, Rounder = 12582912f, Ln2Upper = 0.693145751953125f, Ln2Lower = 1.4286068e-06f;

    // (exp(r) - 1 - r) / r^2, by iteratively reweighted least squares: the largest relative error of exp(r) is 3.1e-9 before rounding.
    private const float C0 = 0.49999994f, C1 = 0.16666521f, C2 = 0.04166839f, C3 = 0.008368745f, C4 = 0.001381454f;

    /// <summary>The exponential of each lane.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static TVector Run<TVector, TLanes>(TVector x)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        TVector one = TLanes.Broadcast(1f);
        TVector shifted = TLanes.MultiplyAdd(x, TLanes.Broadcast(PerLn2), TLanes.Broadcast(Rounder)), n = TLanes.Subtract(shifted, TLanes.Broadcast(Rounder));
        TVector r = TLanes.MultiplyAdd(n, TLanes.Broadcast(-Ln2Lower), TLanes.MultiplyAdd(n, TLanes.Broadcast(-Ln2Upper), x));
        TVector p = TLanes.MultiplyAdd(TLanes.Broadcast(C4), r, TLanes.Broadcast(C3));
        p = TLanes.MultiplyAdd(p, r, TLanes.Broadcast(C2));
        p = TLanes.MultiplyAdd(p, r, TLanes.Broadcast(C1));
        p = TLanes.MultiplyAdd(p, r, TLanes.Broadcast(C0));
        p = TLanes.MultiplyAdd(TLanes.MultiplyAdd(p, r, one), r, one);
        TVector result = TLanes.ScaleByPowerOfTwo(p, shifted);
        result = TLanes.SelectLess(x, TLanes.Broadcast(Lowest), TLanes.Zero, result);
        return TLanes.SelectLess(TLanes.Broadcast(Highest), x, TLanes.Broadcast(float.PositiveInfinity), result);
    }
}
