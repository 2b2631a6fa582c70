using E2LLM.Kernels.MatMul;

namespace E2LLM.Tests.Kernels;

/// <summary>Random inputs of kernel tests, and the plain truth about products.</summary>
internal static unsafe class KernelData
{
    public static readonly string[] Widths = ["Vector512", "Vector256", "Vector128", "Scalar"];

    public static float[] Normal(int count, int seed, float scale = 1f)
    {
        var random = new Random(seed);
        float[] values = new float[count];
        for (int i = 0; i < count; i++)
        {
            double u = 1 - random.NextDouble(), v = random.NextDouble();
            values[i] = (float)(Math.Sqrt(-2 * Math.Log(u)) * Math.Cos(2 * Math.PI * v)) * scale;
        }

        return values;
    }

    /// <summary>Rows encoded as plain floats of a type, and what they mean.</summary>
    public static byte[] Encode(TensorType type, float[] values) => type switch
    {
        TensorType.F32 => [.. values.SelectMany(BitConverter.GetBytes)],
        TensorType.F16 => [.. values.SelectMany(value => BitConverter.GetBytes((Half)value))],
        TensorType.BF16 => [.. values.SelectMany(value => BitConverter.GetBytes((ushort)(BitConverter.SingleToUInt32Bits(value) >> 16)))],
        _ => throw new ArgumentOutOfRangeException(nameof(type)),
    };

    /// <summary><c>y[t][r] = sum w[r][c] x[t][c]</c> in double precision.</summary>
    public static double[] Multiply(ReadOnlySpan<float> w, ReadOnlySpan<float> x, int rows, int columns, int tokens)
    {
        double[] y = new double[tokens * rows];
        for (int t = 0; t < tokens; t++)
        {
            for (int r = 0; r < rows; r++)
            {
                double sum = 0;
                for (int c = 0; c < columns; c++)
                {
                    sum += (double)w[(r * columns) + c] * x[(t * columns) + c];
                }

                y[(t * rows) + r] = sum;
            }
        }

        return y;
    }

    /// <summary>A whole stored matrix, packed.</summary>
    public static byte[] Pack(TensorType type, byte[] stored, int rows, int columns)
    {
        byte[] packed = new byte[PackedMatrix.MatrixBytes(type, rows, columns)];
        int groupRows = PackedMatrix.GroupRows(type), rowBytes = rows == 0 ? 0 : stored.Length / rows;
        fixed (byte* source = stored, target = packed)
        {
            for (int row = 0; row < rows; row += groupRows)
            {
                PackedMatrix.PackGroup(
                    type, source + ((long)row * rowBytes), rowBytes, Math.Min(groupRows, rows - row), columns, target + (row / groupRows * PackedMatrix.GroupBytes(type, columns)));
            }
        }

        return packed;
    }
}
