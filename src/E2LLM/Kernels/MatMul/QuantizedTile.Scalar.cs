using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>The plain twin of <see cref="QuantizedTile"/>: one row, one token.</summary>
internal static unsafe class QuantizedTileScalar
{
    /// <summary>The same sum in the same order; only the rounding of multiply-add may differ from the vectors'.</summary>
    internal static float Run<TLayout, TFormat>(byte* group, int row, int columns, QuantizedActivations x)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
    {
        int blocks = columns / PackedQuantizedRows.BlockColumns;
        ushort* scales = PackedQuantizedRows.Scales<TLayout>(group, columns);
        float sum = 0f;
        for (int b = 0; b < blocks; b++)
        {
            byte* quants = group + ((long)b * TLayout.QuantBytes);
            int dot = -TFormat.Bias * x.Sums[b];
            for (int column = 0; column < PackedQuantizedRows.BlockColumns; column++)
            {
                dot += TLayout.Get(quants, row, column) * x.Quants[(b * PackedQuantizedRows.BlockColumns) + column];
            }

            int index = (b * PackedQuantizedRows.GroupRows) + row;
            sum = FloatLanesScalar.MultiplyAdd(dot, FloatLanesScalar.LoadHalf(scales + index) * x.Scales[b], sum);
            if (TFormat.HasMinimum)
            {
                float minimum = FloatLanesScalar.LoadHalf(PackedQuantizedRows.Minima(scales, blocks) + index);
                sum = FloatLanesScalar.MultiplyAdd(minimum, x.Scales[b] * x.Sums[b], sum);
            }
        }

        return sum;
    }
}
