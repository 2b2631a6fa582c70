using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// What eight tokens bring to a stretch of 16 blocks besides their quants, in one place so that one pointer finds it: <c>[8 tokens][2][16]</c>, first the block's scale, then where its sums of
/// products start (formats with a bias), or its scale times the sum of its quants (formats with a minimum).
/// </summary>
internal static unsafe class TokenTable
{
    /// <summary>Bytes of the table.</summary>
    internal const int Bytes = 8 * TokenBytes;

    /// <summary>Blocks of a stretch at most.</summary>
    internal const int Blocks = 16;

    private const int BlockColumns = PackedQuantizedRows.BlockColumns;
    private const int SecondBytes = Blocks * sizeof(float), TokenBytes = 2 * SecondBytes;

    /// <summary>Fills the table for a stretch.</summary>
    /// <param name="x">Activations of the first token, from the stretch's first column on.</param>
    /// <param name="depth">Columns of the stretch.</param>
    /// <param name="columns">Columns of the matrix.</param>
    /// <param name="tokenCount">1 to 8; a missing token is the first again.</param>
    /// <param name="table">Output.</param>
    internal static void Fill<TLayout, TFormat>(QuantizedActivations x, int depth, int columns, int tokenCount, byte* table)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
    {
        for (int token = 0; token < 8; token++, table += TokenBytes)
        {
            nint at = (nint)(token < tokenCount ? token : 0) * (columns / BlockColumns);
            Fill<TLayout, TFormat>(x.Scales + at, x.Sums + at, depth / BlockColumns, (float*)table);
        }
    }

    /// <summary>A token's scale of a block, in every lane.</summary>
    /// <param name="table">The table, plus four bytes for each block.</param>
    /// <param name="token">0 to 7.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<float> Scale(byte* table, int token) => Vector512.Create(*(float*)(table + (token * TokenBytes)));

    /// <summary>A token's scale of a block times the sum of its quants.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<float> Shift(byte* table, int token) => Vector512.Create(*(float*)(table + (token * TokenBytes) + SecondBytes));

    /// <summary>
    /// Where the 16-bit sums of a block start. All of the bias of weights below 16, 32 times 8, is taken from the low one of a row's two sums, which has room for it: its own 16 columns less their bias, and
    /// the bias of the 16 others, come to <c>2 * 16 * 8 * 127</c> at most.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<short> Start<TLayout, TFormat>(byte* table, int token)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout> =>
        TLayout.MaxQuant < 16 && TFormat.Bias != 0 ? Vector512.Create(*(int*)(table + (token * TokenBytes) + SecondBytes)).AsInt16() : Vector512<short>.Zero;

    /// <summary>What is added to a block's 32-bit sums: its bias, where <see cref="Start"/> did not take it away.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<int> LateStart(byte* table, int token) => Vector512.Create(*(int*)(table + (token * TokenBytes) + SecondBytes));

    private static void Fill<TLayout, TFormat>(float* scales, int* sums, int blocks, float* table)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
    {
        int mask = TLayout.MaxQuant < 16 ? 0xFFFF : -1;
        if (blocks == Blocks)
        {
            Vector512<float> scale = Vector512.Load(scales);
            Vector512<int> sum = Vector512.Load(sums);
            scale.Store(table);
            (TFormat.HasMinimum ? scale * Vector512.ConvertToSingle(sum) : (-(sum * TFormat.Bias) & Vector512.Create(mask)).AsSingle()).Store(table + Blocks);
            return;
        }

        for (int block = 0; block < blocks; block++)
        {
            table[block] = scales[block];
            table[Blocks + block] = TFormat.HasMinimum ? scales[block] * sums[block] : BitConverter.Int32BitsToSingle(-(sums[block] * TFormat.Bias) & mask);
        }
    }
}
