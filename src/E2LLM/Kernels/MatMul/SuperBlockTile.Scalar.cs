using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>The plain twin of <see cref="SuperBlockTile"/>: one row, one token.</summary>
internal static unsafe class SuperBlockTileScalar
{
    private const int GroupRows = PackedQuantizedRows.GroupRows;

    /// <summary>The same sum in the same order; only the rounding of multiply-add may differ from the vectors'.</summary>
    internal static float Run<TLayout, TFormat>(byte* group, int row, int columns, SuperBlockActivations x)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
    {
        float result = 0f;
        for (int block = 0; block < columns / PackedSuperBlockRows.BlockColumns; block++, group += PackedSuperBlockRows.BlockBytes<TLayout, TFormat>())
        {
            sbyte* scales = (sbyte*)(group + PackedSuperBlockRows.ScalesOffset<TLayout>());
            int sum = 0, minima = 0;
            for (int half = 0; half < 16; half++)
            {
                int dot = 0;
                for (int i = 0; i < 16; i++)
                {
                    int column = (half * 16) + i;
                    int quant = TLayout.Get(group + (column / 32 * TLayout.QuantBytes), row, column % 32) - TFormat.Bias;
                    dot += quant * x.Quants[(block * PackedSuperBlockRows.BlockColumns) + column];
                }

                int sub = half / 2;
                sum += dot * scales[((TFormat.ScalesPerSubBlock == 1 ? sub : half) * GroupRows) + row];
                if (TFormat.HasMinima)
                {
                    minima += group[PackedSuperBlockRows.MinimaOffset<TLayout, TFormat>() + (sub * GroupRows) + row] * x.Sums[(block * 16) + half];
                }
            }

            ushort* factors = (ushort*)(group + PackedSuperBlockRows.FactorsOffset<TLayout, TFormat>());
            result = FloatLanesScalar.MultiplyAdd(sum, FloatLanesScalar.LoadHalf(factors + row) * x.Scales[block], result);
            if (TFormat.HasMinima)
            {
                result = FloatLanesScalar.MultiplyAdd(-minima, FloatLanesScalar.LoadHalf(factors + GroupRows + row) * x.Scales[block], result);
            }
        }

        return result;
    }
}
