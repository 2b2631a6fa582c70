using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// <see cref="QuantizedTile512{TLayout, TFormat}"/> for many tokens: weights as bytes and scales as floats, taken apart once for all of them. The same sums in the same order.
/// </summary>
/// <remarks>A panel's block of 32 columns is its bytes (<see cref="PanelDot512"/>), then scales <c>[2 groups][16 rows]</c>, then minima likewise where the format has them.</remarks>
internal readonly unsafe struct QuantizedPanel512<TLayout, TFormat> : IRowPanel<QuantizedActivations>
    where TLayout : IQuantLayout
    where TFormat : IQuantizedFormat<TLayout>
{
    private const int BlockColumns = PackedQuantizedRows.BlockColumns;
    private const int GroupRows = PackedQuantizedRows.GroupRows;
    private const int VectorBytes = PanelDot512.VectorBytes;

    // Outputs of one token.
    private const int Sums = 2 * GroupRows;

    private static int BlockBytes
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => PanelDot512.QuantBytes + (2 * VectorBytes * (TFormat.HasMinimum ? 2 : 1));
    }

    public static int PanelBytes(int columns) => columns / BlockColumns * BlockBytes;

    public static nint StretchBytes(int columns) => columns / BlockColumns * PackedQuantizedRows.BlockBytes<TLayout, TFormat>();

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Fill(byte* group0, byte* group1, int depth, byte* panel)
    {
        for (int block = 0; block < depth / BlockColumns; block++)
        {
            FillBlock(group0, panel);
            FillBlock(group1, panel + VectorBytes);
            group0 += PackedQuantizedRows.BlockBytes<TLayout, TFormat>();
            group1 += PackedQuantizedRows.BlockBytes<TLayout, TFormat>();
            panel += BlockBytes;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RunEight(byte* panel, int depth, QuantizedActivations x, int columns, int tokenCount, float* sums, int* parts)
    {
        TokenRows.Eight(x.Quants, columns, tokenCount, out sbyte* x0, out sbyte* x1, out sbyte* x2, out sbyte* x3, out sbyte* x4, out sbyte* x5, out sbyte* x6, out sbyte* x7);
        TokenRows.Eight(x.Scales, columns / BlockColumns, tokenCount, out float* d0, out float* d1, out float* d2, out float* d3, out float* d4, out float* d5, out float* d6, out float* d7);

        // Scales and sums of activations lie alike: one pointer a token serves both.
        nint scaleAt = 0, sumAt = (nint)((byte*)x.Sums - (byte*)x.Scales);
        Vector512<short> one = Vector512<short>.One;
        for (nint column = 0; column < depth; column += BlockColumns)
        {
            PanelDot512.Sum(
                panel, PanelDot512.Steps<TLayout>(), column, x0, x1, x2, x3, x4, x5, x6, x7,
                out Vector512<short> p00, out Vector512<short> p10, out Vector512<short> p01, out Vector512<short> p11, out Vector512<short> p02, out Vector512<short> p12, out Vector512<short> p03, out Vector512<short> p13,
                out Vector512<short> p04, out Vector512<short> p14, out Vector512<short> p05, out Vector512<short> p15, out Vector512<short> p06, out Vector512<short> p16, out Vector512<short> p07, out Vector512<short> p17);
            if (PanelDot512.Steps<TLayout>() == 4)
            {
                Park(p00, p10, one, parts);
                Park(p01, p11, one, parts + Sums);
                Park(p02, p12, one, parts + (2 * Sums));
                Park(p03, p13, one, parts + (3 * Sums));
                Park(p04, p14, one, parts + (4 * Sums));
                Park(p05, p15, one, parts + (5 * Sums));
                Park(p06, p16, one, parts + (6 * Sums));
                Park(p07, p17, one, parts + (7 * Sums));
                PanelDot512.Sum(
                    panel + (4 * PanelDot512.StepBytes), 4, column + 16, x0, x1, x2, x3, x4, x5, x6, x7,
                    out p00, out p10, out p01, out p11, out p02, out p12, out p03, out p13, out p04, out p14, out p05, out p15, out p06, out p16, out p07, out p17);
            }

            Fold(p00, p10, one, parts, panel, d0, scaleAt, sumAt, sums);
            Fold(p01, p11, one, parts + Sums, panel, d1, scaleAt, sumAt, sums + Sums);
            Fold(p02, p12, one, parts + (2 * Sums), panel, d2, scaleAt, sumAt, sums + (2 * Sums));
            Fold(p03, p13, one, parts + (3 * Sums), panel, d3, scaleAt, sumAt, sums + (3 * Sums));
            Fold(p04, p14, one, parts + (4 * Sums), panel, d4, scaleAt, sumAt, sums + (4 * Sums));
            Fold(p05, p15, one, parts + (5 * Sums), panel, d5, scaleAt, sumAt, sums + (5 * Sums));
            Fold(p06, p16, one, parts + (6 * Sums), panel, d6, scaleAt, sumAt, sums + (6 * Sums));
            Fold(p07, p17, one, parts + (7 * Sums), panel, d7, scaleAt, sumAt, sums + (7 * Sums));
            panel += BlockBytes;
            scaleAt += sizeof(float);
            sumAt += sizeof(int);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FillBlock(byte* block, byte* panel)
    {
        Prefetch.Ahead(block, PackedQuantizedRows.BlockBytes<TLayout, TFormat>());
        PanelDot512.Fill<TLayout>(block, panel);
        FloatLanes512.LoadHalf(PackedQuantizedRows.Scales<TLayout>(block)).Store((float*)(panel + PanelDot512.QuantBytes));
        if (TFormat.HasMinimum)
        {
            FloatLanes512.LoadHalf(PackedQuantizedRows.Minima<TLayout>(block)).Store((float*)(panel + PanelDot512.QuantBytes + (2 * VectorBytes)));
        }
    }

    // Widens the sums of the first half of a block.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Park(Vector512<short> p0, Vector512<short> p1, Vector512<short> one, int* parts)
    {
        Avx512BW.MultiplyAddAdjacent(p0, one).Store(parts);
        Avx512BW.MultiplyAddAdjacent(p1, one).Store(parts + GroupRows);
    }

    // Adds one token's finished block to its outputs.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Fold(
        Vector512<short> p0, Vector512<short> p1, Vector512<short> one, int* parts, byte* panel, float* activations, nint scaleAt, nint sumAt, float* sums)
    {
        float* scales = (float*)(panel + PanelDot512.QuantBytes), minima = scales + Sums;
        Vector512<int> dot0 = Avx512BW.MultiplyAddAdjacent(p0, one), dot1 = Avx512BW.MultiplyAddAdjacent(p1, one);
        if (PanelDot512.Steps<TLayout>() == 4)
        {
            dot0 += Vector512.Load(parts);
            dot1 += Vector512.Load(parts + GroupRows);
        }

        int* activationSum = (int*)((byte*)activations + sumAt);
        float* activationScale = (float*)((byte*)activations + scaleAt);
        if (TFormat.Bias != 0)
        {
            // Every bias is a power of two.
            Vector512<int> bias = Vector512.ShiftLeft(Vector512.Create(*activationSum), BitOperations.Log2((uint)TFormat.Bias));
            dot0 -= bias;
            dot1 -= bias;
        }

        Vector512<float> d = Vector512.Create(*activationScale);
        Vector512<float> f0 = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(dot0), Vector512.Load(scales) * d, Vector512.Load(sums));
        Vector512<float> f1 = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(dot1), Vector512.Load(scales + GroupRows) * d, Vector512.Load(sums + GroupRows));
        if (TFormat.HasMinimum)
        {
            Vector512<float> shift = Vector512.Create(*activationScale * *activationSum);
            f0 = Vector512.FusedMultiplyAdd(Vector512.Load(minima), shift, f0);
            f1 = Vector512.FusedMultiplyAdd(Vector512.Load(minima + GroupRows), shift, f1);
        }

        f0.Store(sums);
        f1.Store(sums + GroupRows);
    }
}
