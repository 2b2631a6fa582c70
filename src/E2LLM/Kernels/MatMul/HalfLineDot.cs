using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>Integer sums over one block of 32 columns of a group, eight rows in lanes, rows 0 to 7 and rows 8 to 15: the steps that the tiles of 256 bits share.</summary>
internal static unsafe class HalfLineDot<TLayout, TDot>
    where TLayout : IQuantLayout
    where TDot : IIntegerDot
{
    // Rows 8 to 15 of a line.
    private const int HalfLine = 32;

    /// <summary>Adds the products of a block and four tokens.</summary>
    /// <param name="quants">The block's quants.</param>
    /// <param name="x0">The 32 activations of the first token; the others are further tokens.</param>
    /// <param name="x1">Second token.</param>
    /// <param name="x2">Third token.</param>
    /// <param name="x3">Fourth token.</param>
    /// <param name="a00">Sums of rows 0 to 7 and the first token; the others are of rows 8 to 15 and of further tokens.</param>
    /// <param name="a01">Sums.</param>
    /// <param name="a02">Sums.</param>
    /// <param name="a03">Sums.</param>
    /// <param name="a10">Sums.</param>
    /// <param name="a11">Sums.</param>
    /// <param name="a12">Sums.</param>
    /// <param name="a13">Sums.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Add(
        byte* quants, sbyte* x0, sbyte* x1, sbyte* x2, sbyte* x3,
        ref Vector256<int> a00, ref Vector256<int> a01, ref Vector256<int> a02, ref Vector256<int> a03,
        ref Vector256<int> a10, ref Vector256<int> a11, ref Vector256<int> a12, ref Vector256<int> a13)
    {
        Step(quants, 0, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
        Step(quants, 1, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
        Step(quants, 2, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
        Step(quants, 3, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
        Step(quants, 4, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
        Step(quants, 5, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
        Step(quants, 6, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
        Step(quants, 7, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
    }

    /// <summary>Adds the products of a block and one token.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Add(byte* quants, sbyte* x, ref Vector256<int> a0, ref Vector256<int> a1)
    {
        Step(quants, 0, x, ref a0, ref a1);
        Step(quants, 1, x, ref a0, ref a1);
        Step(quants, 2, x, ref a0, ref a1);
        Step(quants, 3, x, ref a0, ref a1);
        Step(quants, 4, x, ref a0, ref a1);
        Step(quants, 5, x, ref a0, ref a1);
        Step(quants, 6, x, ref a0, ref a1);
        Step(quants, 7, x, ref a0, ref a1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step(
        byte* quants, int step, sbyte* x0, sbyte* x1, sbyte* x2, sbyte* x3,
        ref Vector256<int> a00, ref Vector256<int> a01, ref Vector256<int> a02, ref Vector256<int> a03,
        ref Vector256<int> a10, ref Vector256<int> a11, ref Vector256<int> a12, ref Vector256<int> a13)
    {
        Vector256<byte> w0 = TLayout.Load256(quants, step), w1 = TLayout.Load256(quants + HalfLine, step);
        Vector256<sbyte> v = Four(x0, step);
        a00 = TDot.Add(a00, w0, v);
        a10 = TDot.Add(a10, w1, v);
        v = Four(x1, step);
        a01 = TDot.Add(a01, w0, v);
        a11 = TDot.Add(a11, w1, v);
        v = Four(x2, step);
        a02 = TDot.Add(a02, w0, v);
        a12 = TDot.Add(a12, w1, v);
        v = Four(x3, step);
        a03 = TDot.Add(a03, w0, v);
        a13 = TDot.Add(a13, w1, v);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step(byte* quants, int step, sbyte* x, ref Vector256<int> a0, ref Vector256<int> a1)
    {
        Vector256<sbyte> v = Four(x, step);
        a0 = TDot.Add(a0, TLayout.Load256(quants, step), v);
        a1 = TDot.Add(a1, TLayout.Load256(quants + HalfLine, step), v);
    }

    // Four neighbouring activations in every lane: they meet four neighbouring columns of each row.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<sbyte> Four(sbyte* x, int step) => Vector256.Create(((int*)x)[step]).AsSByte();
}
