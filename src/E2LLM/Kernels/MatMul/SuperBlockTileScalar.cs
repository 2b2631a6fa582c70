using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// The plain twin of <see cref="SuperBlockTile{TLayout, TFormat, TDot}"/>, output by output: the same sum in the same order; only the rounding of multiply-add may differ from
/// the vectors'.
/// </summary>
internal readonly unsafe struct SuperBlockTileScalar<TLayout, TFormat> : IRowTile<SuperBlockActivations>
    where TLayout : IQuantLayout
    where TFormat : ISuperBlockFormat<TLayout>
{
    private const int GroupRows = PackedQuantizedRows.GroupRows;

    public static int Groups => 1;

    public static long GroupBytes(int columns) => PackedSuperBlockRows.GroupBytes<TLayout, TFormat>(columns);

    public static void RunOne(byte* group, int columns, SuperBlockActivations x, float* y) => RunFour(group, group, columns, x, 1, y, 0, 0, 0);

    public static void RunFour(byte* group0, byte* group1, int columns, SuperBlockActivations x, int tokenCount, float* y, nint yStride, nint secondGroup, nint ahead)
    {
        for (int token = 0; token < tokenCount; token++)
        {
            for (int row = 0; row < GroupRows; row++)
            {
                y[(token * yStride) + row] = Sum(group0, row, columns, x.From(token, columns));
            }
        }
    }

    private static float Sum(byte* group, int row, int columns, SuperBlockActivations x)
    {
        float result = 0f;
        for (int block = 0; block < columns / PackedSuperBlockRows.BlockColumns; block++, group += PackedSuperBlockRows.BlockBytes<TLayout, TFormat>())
        {
            sbyte* scales = (sbyte*)(group + PackedSuperBlockRows.ScalesOffset<TLayout>());
            int sum = 0, minima = 0;
            for (int half = 0; half < 16; half++)
            {
                int dot = 0, sub = half / 2, perSub = TFormat.ScalesPerSubBlock;
                for (int i = 0; i < 16; i++)
                {
                    int column = (half * 16) + i;
                    int quant = TLayout.Get(group + (sub * TLayout.QuantBytes), row, column % 32) - TFormat.Bias;
                    dot += quant * x.Quants[(block * PackedSuperBlockRows.BlockColumns) + column];
                }

                sum += dot * scales[(((sub * GroupRows) + row) * perSub) + (half % perSub)];
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
