using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>The plain twin of <see cref="QuantizedTile"/>: one row, all tokens.</summary>
internal static unsafe class QuantizedTileScalar
{
    private const int BlockColumns = PackedQuantizedRows.BlockColumns;

    /// <summary>The same sums in the same order, resting in y between blocks; only the rounding of multiply-add may differ from the vectors'.</summary>
    internal static void Run<TLayout, TFormat>(byte* group, int row, int columns, QuantizedActivations x, int tokens, float* y, nint yStride)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
    {
        int blocks = columns / BlockColumns;
        ushort* scales = PackedQuantizedRows.Scales<TLayout>(group, columns);
        int* weights = stackalloc int[BlockColumns];
        for (int token = 0; token < tokens; token++)
        {
            y[token * yStride] = 0f;
        }

        for (int b = 0; b < blocks; b++)
        {
            for (int column = 0; column < BlockColumns; column++)
            {
                weights[column] = TLayout.Get(group + ((long)b * TLayout.QuantBytes), row, column) - TFormat.Bias;
            }

            int index = (b * PackedQuantizedRows.GroupRows) + row;
            float scale = FloatLanesScalar.LoadHalf(scales + index);
            float minimum = TFormat.HasMinimum ? FloatLanesScalar.LoadHalf(PackedQuantizedRows.Minima(scales, blocks) + index) : 0f;
            for (int token = 0; token < tokens; token++)
            {
                sbyte* quants = x.Quants + ((long)token * columns) + (b * BlockColumns);
                int dot = 0;
                for (int column = 0; column < BlockColumns; column++)
                {
                    dot += weights[column] * quants[column];
                }

                int place = (token * blocks) + b;
                float sum = FloatLanesScalar.MultiplyAdd(dot, scale * x.Scales[place], y[token * yStride]);
                y[token * yStride] = TFormat.HasMinimum ? FloatLanesScalar.MultiplyAdd(minimum, x.Scales[place] * x.Sums[place], sum) : sum;
            }
        }
    }
}
