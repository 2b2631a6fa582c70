using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// <see cref="QuantizedPanel512{TLayout, TFormat}"/> for weights below 16 whose scales are whole multiples, below 2^15, of a power of two of their row: the multiplication that widens
/// 16-bit sums then scales them as well, exactly. The same sums in the same order.
/// </summary>
/// <remarks>
/// A half has 11 bits, so a row qualifies whose scales, but for those that are zero, lie within five exponents of each other: rows of ordinary weights do. A panel's block of 32 columns is its bytes
/// (<see cref="PanelDot512"/>), then scales as such multiples, twice in each row's lane, then minima, where the format has them, as floats in the row's unit. Sums are in the rows' units until the last
/// column: a power of two rounds nothing. They stay clear of overflow and of subnormal floats: <see cref="Quantization.ActivationBlock"/> bounds the scales of activations for that.
/// </remarks>
internal readonly unsafe struct NibblePanel512<TLayout, TFormat> : IRowPanel<QuantizedActivations>
    where TLayout : IQuantLayout
    where TFormat : IQuantizedFormat<TLayout>
{
    private const int BlockColumns = PackedQuantizedRows.BlockColumns;
    private const int GroupRows = PackedQuantizedRows.GroupRows;
    private const int VectorBytes = PanelDot512.VectorBytes;

    // Outputs of one token.
    private const int Sums = 2 * GroupRows;

    // Exponents that the scales of a row may span: 2047 * 2^4 still fits in 16 bits.
    private const int ExponentSpan = 4;
    private const int HalfMantissaBits = 10, FloatMantissaBits = 23;
    private const ushort HalfMagnitude = 0x7FFF, HalfInfinity = 0x7C00;

    // The last bit of a half whose exponent field is e means 2^(e - 25); a float whose field is e means 2^(e - 127).
    private const uint UnitExponent = 127 - 25;

    private static int BlockBytes
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => PanelBlocks<TLayout, TFormat>.BlockBytes;
    }

    private static int PackedBytes
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => PackedQuantizedRows.BlockBytes<TLayout, TFormat>();
    }

    public static int PanelBytes(int columns) => columns / BlockColumns * BlockBytes;

    public static nint StretchBytes(int columns) => columns / BlockColumns * PackedBytes;

    public static bool Begin(byte* group0, byte* group1, int columns, float* units) =>
        PanelDot512.Steps<TLayout>() == 8 && Units(group0, columns, units) && Units(group1, columns, units + GroupRows);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Fill(byte* group0, byte* group1, int depth, byte* panel, float* units)
    {
        Vector512<float> inverse0 = Vector512<float>.One / Vector512.Load(units), inverse1 = Vector512<float>.One / Vector512.Load(units + GroupRows);
        for (int block = 0; block < depth / BlockColumns; block++)
        {
            FillBlock(group0, panel, inverse0);
            FillBlock(group1, panel + VectorBytes, inverse1);
            group0 += PackedBytes;
            group1 += PackedBytes;
            panel += BlockBytes;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RunEight(byte* panel, int depth, QuantizedActivations x, int columns, int tokenCount, float* sums, byte* scratch)
    {
        TokenRows.Eight(x.Quants, columns, tokenCount, out sbyte* x0, out sbyte* x1, out sbyte* x2, out sbyte* x3, out sbyte* x4, out sbyte* x5, out sbyte* x6, out sbyte* x7);
        byte* table = scratch;
        TokenTable.Fill<TLayout, TFormat>(x, depth, columns, tokenCount, table);
        for (nint column = 0; column < depth; column += BlockColumns)
        {
            Vector512<short> p00 = Start(table, 0), p01 = Start(table, 1), p02 = Start(table, 2), p03 = Start(table, 3), p04 = Start(table, 4), p05 = Start(table, 5), p06 = Start(table, 6), p07 = Start(table, 7);
            Vector512<short> p10 = p00, p11 = p01, p12 = p02, p13 = p03, p14 = p04, p15 = p05, p16 = p06, p17 = p07;
            PanelDot512.Add<PanelBlocks<TLayout, TFormat>>(
                panel, panel + VectorBytes, 0, 8, column, x0, x1, x2, x3, x4, x5, x6, x7,
                ref p00, ref p10, ref p01, ref p11, ref p02, ref p12, ref p03, ref p13, ref p04, ref p14, ref p05, ref p15, ref p06, ref p16, ref p07, ref p17);
            Vector512<short> scale0 = Vector512.Load((short*)(panel + PanelDot512.QuantBytes)), scale1 = Vector512.Load((short*)(panel + PanelDot512.QuantBytes + VectorBytes));
            Fold(p00, p10, scale0, scale1, panel, table, 0, sums);
            Fold(p01, p11, scale0, scale1, panel, table, 1, sums);
            Fold(p02, p12, scale0, scale1, panel, table, 2, sums);
            Fold(p03, p13, scale0, scale1, panel, table, 3, sums);
            Fold(p04, p14, scale0, scale1, panel, table, 4, sums);
            Fold(p05, p15, scale0, scale1, panel, table, 5, sums);
            Fold(p06, p16, scale0, scale1, panel, table, 6, sums);
            Fold(p07, p17, scale0, scale1, panel, table, 7, sums);
            panel += BlockBytes;
            table += sizeof(float);
        }
    }

    // The units of one group's rows, if they have any.
    private static bool Units(byte* group, int columns, float* units)
    {
        Vector256<ushort> most = Vector256<ushort>.Zero, least = Vector256<ushort>.AllBitsSet;
        for (int block = 0; block < columns / BlockColumns; block++, group += PackedBytes)
        {
            // Zero less one is the largest number there is: zeros do not count.
            Vector256<ushort> magnitude = Vector256.Load(PackedQuantizedRows.Scales<TLayout>(group)) & Vector256.Create(HalfMagnitude);
            most = Vector256.Max(most, magnitude);
            least = Vector256.Min(least, magnitude - Vector256<ushort>.One);
        }

        // Subnormal halves have the exponent of the smallest normal ones.
        Vector256<ushort> low = Vector256.Max((least + Vector256<ushort>.One) >> HalfMantissaBits, Vector256<ushort>.One), high = Vector256.Max(most >> HalfMantissaBits, low);
        if (Vector256.GreaterThanAny(high - low, Vector256.Create((ushort)ExponentSpan)) || Vector256.GreaterThanOrEqualAny(most, Vector256.Create(HalfInfinity)))
        {
            return false;
        }

        ((Vector512.WidenLower(low.ToVector512()) + Vector512.Create(UnitExponent)) << FloatMantissaBits).AsSingle().Store(units);
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FillBlock(byte* block, byte* panel, Vector512<float> inverseUnit)
    {
        Prefetch.Ahead(block, PackedBytes);
        PanelDot512.Fill<TLayout>(block, panel);
        Vector512<int> scale = Avx512F.ConvertToVector512Int32(FloatLanes512.LoadHalf(PackedQuantizedRows.Scales<TLayout>(block)) * inverseUnit);
        ((scale & Vector512.Create(0xFFFF)) | (scale << 16)).Store((int*)(panel + PanelDot512.QuantBytes));
        if (TFormat.HasMinimum)
        {
            (FloatLanes512.LoadHalf(PackedQuantizedRows.Minima<TLayout>(block)) * inverseUnit).Store((float*)(panel + PanelDot512.QuantBytes + (2 * VectorBytes)));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<short> Start(byte* table, int token) => TokenTable.Start<TLayout, TFormat>(table, token);

    // Adds one token's finished block to its outputs.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Fold(Vector512<short> p0, Vector512<short> p1, Vector512<short> scale0, Vector512<short> scale1, byte* panel, byte* table, int token, float* sums)
    {
        sums += token * Sums;
        Vector512<float> d = TokenTable.Scale(table, token);
        Vector512<float> f0 = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(Avx512BW.MultiplyAddAdjacent(p0, scale0)), d, Vector512.Load(sums));
        Vector512<float> f1 = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(Avx512BW.MultiplyAddAdjacent(p1, scale1)), d, Vector512.Load(sums + GroupRows));
        if (TFormat.HasMinimum)
        {
            Vector512<float> shift = TokenTable.Shift(table, token);
            f0 = Vector512.FusedMultiplyAdd(PanelBlocks<TLayout, TFormat>.Minima(panel), shift, f0);
            f1 = Vector512.FusedMultiplyAdd(PanelBlocks<TLayout, TFormat>.Minima(panel + VectorBytes), shift, f1);
        }

        f0.Store(sums);
        f1.Store(sums + GroupRows);
    }
}
