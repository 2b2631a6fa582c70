using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// The plain twin of <see cref="QuantizedTile{TLayout, TFormat, TDot}"/>, row by row: the same sums in the same order, resting in y between blocks; only the rounding of
/// multiply-add may differ from the vectors'.
/// </summary>
internal readonly unsafe struct QuantizedTileScalar<TLayout, TFormat> : IRowTile<QuantizedActivations>
    where TLayout : IQuantLayout
    where TFormat : IQuantizedFormat<TLayout>
{
    private const int BlockColumns = PackedQuantizedRows.BlockColumns;

    public static int Groups => 1;

    public static long GroupBytes(int columns) => PackedQuantizedRows.GroupBytes<TLayout, TFormat>(columns);

    public static void RunOne(byte* group, int columns, QuantizedActivations x, float* y) => RunFour(group, group, columns, x, 1, y, 0, 0, 0);

    public static void RunFour(byte* group0, byte* group1, int columns, QuantizedActivations x, int tokenCount, float* y, nint yStride, nint secondGroup, nint ahead)
    {
        for (int row = 0; row < PackedQuantizedRows.GroupRows; row++)
        {
            RunRow(group0, row, columns, x, tokenCount, y + row, yStride);
        }
    }

    private static void RunRow(byte* block, int row, int columns, QuantizedActivations x, int tokens, float* y, nint yStride)
    {
        int blocks = columns / BlockColumns;
        int* weights = stackalloc int[BlockColumns];
        for (int token = 0; token < tokens; token++)
        {
            y[token * yStride] = 0f;
        }

        for (int b = 0; b < blocks; b++, block += PackedQuantizedRows.BlockBytes<TLayout, TFormat>())
        {
            for (int column = 0; column < BlockColumns; column++)
            {
                weights[column] = TLayout.Get(block, row, column) - TFormat.Bias;
            }

            float scale = FloatLanesScalar.LoadHalf(PackedQuantizedRows.Scales<TLayout>(block) + row);
            float minimum = TFormat.HasMinimum ? FloatLanesScalar.LoadHalf(PackedQuantizedRows.Minima<TLayout>(block) + row) : 0f;
            for (int token = 0; token < tokens; token++)
            {
                sbyte* quants = x.Quants + ((long)token * columns) + (b * BlockColumns);
                int dot = 0;
                for (int column = 0; column < BlockColumns; column++)
                {
                    dot += weights[column] * quants[column];
                }

                int place = (token * blocks) + b;
                float sum = FloatLanesScalar.MultiplyAdd(dot * scale, x.Scales[place], y[token * yStride]);
                y[token * yStride] = TFormat.HasMinimum ? FloatLanesScalar.MultiplyAdd(minimum, x.Scales[place] * x.Sums[place], sum) : sum;
            }
        }
    }
}
