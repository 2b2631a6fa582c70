namespace E2LLM.Kernels.MatMul;

/// <summary>
/// Rows repacked into groups, for every supported element type: the one place where a <see cref="TensorType"/> chooses a layout and a product.
/// </summary>
internal static unsafe class PackedMatrix
{
    /// <summary>Rows that a product may be split at: a whole number of groups of every type.</summary>
    internal const int SplitRows = 16;

    /// <summary>Which form of the activations a type multiplies with.</summary>
    internal static ActivationForm FormOf(TensorType type) => type switch
    {
        TensorType.F32 or TensorType.F16 or TensorType.BF16 => ActivationForm.Single,
        TensorType.Q8_0 => ActivationForm.Blocks32,
        _ => throw Unsupported(type),
    };

    /// <summary>Whether weights of this type can be packed and multiplied.</summary>
    internal static bool IsSupported(TensorType type) => type is TensorType.F32 or TensorType.F16 or TensorType.BF16 or TensorType.Q8_0;

    /// <summary>Rows per group.</summary>
    internal static int GroupRows(TensorType type) => FormOf(type) == ActivationForm.Single ? PackedFloatRows.GroupRows : PackedQuantizedRows.GroupRows;

    /// <summary>Bytes of one group.</summary>
    internal static long GroupBytes(TensorType type, int columns) => type switch
    {
        TensorType.F32 => (long)columns * PackedFloatRows.GroupRows * sizeof(float),
        TensorType.F16 or TensorType.BF16 => (long)columns * PackedFloatRows.GroupRows * sizeof(ushort),
        TensorType.Q8_0 => PackedQuantizedRows.GroupBytes<Q8_0Format>(columns),
        _ => throw Unsupported(type),
    };

    /// <summary>Bytes of a whole matrix, the zero rows that fill the last group included.</summary>
    internal static long MatrixBytes(TensorType type, long rows, int columns)
    {
        int groupRows = GroupRows(type);
        return checked((rows + groupRows - 1) / groupRows * GroupBytes(type, columns));
    }

    /// <summary>Packs one group of stored rows into zeroed memory; see <see cref="PackedFloatRows"/> and <see cref="PackedQuantizedRows"/>.</summary>
    internal static void PackGroup(TensorType type, byte* rows, long rowBytes, int rowCount, int columns, byte* packed)
    {
        switch (type)
        {
            case TensorType.F32:
                PackedFloatRows.PackGroup(rows, rowBytes, rowCount, columns, sizeof(float), packed);
                break;
            case TensorType.F16 or TensorType.BF16:
                PackedFloatRows.PackGroup(rows, rowBytes, rowCount, columns, sizeof(ushort), packed);
                break;
            case TensorType.Q8_0:
                PackedQuantizedRows.PackGroup<Q8_0Format>(rows, rowBytes, rowCount, columns, packed);
                break;
            default:
                throw Unsupported(type);
        }
    }

    /// <summary>Gives one stored row back, bit for bit.</summary>
    internal static void UnpackRow(TensorType type, byte* group, int row, int columns, byte* stored, long rowBytes)
    {
        switch (type)
        {
            case TensorType.F32:
                PackedFloatRows.UnpackRow(group, row, columns, sizeof(float), stored);
                break;
            case TensorType.F16 or TensorType.BF16:
                PackedFloatRows.UnpackRow(group, row, columns, sizeof(ushort), stored);
                break;
            case TensorType.Q8_0:
                PackedQuantizedRows.UnpackRow<Q8_0Format>(group, row, columns, stored, rowBytes);
                break;
            default:
                throw Unsupported(type);
        }
    }

    /// <summary>
    /// <c>y[t][r] = sum over c of w[r][c] * x[t][c]</c> for the rows <c>[firstRow, endRow)</c>; see <see cref="MatMulFloat"/> and <see cref="MatMulQuantized"/>.
    /// </summary>
    /// <param name="type">Element type.</param>
    /// <param name="weights">The packed matrix.</param>
    /// <param name="rows">Rows of the matrix.</param>
    /// <param name="columns">Columns of the matrix.</param>
    /// <param name="firstRow">First row, a multiple of <see cref="SplitRows"/>.</param>
    /// <param name="endRow">One past the last row: a multiple of <see cref="SplitRows"/>, or <paramref name="rows"/>.</param>
    /// <param name="x">Activations, in the form that <see cref="FormOf"/> says.</param>
    /// <param name="tokens">Tokens, at least 1.</param>
    /// <param name="y">Output <c>[tokens][yStride]</c>.</param>
    /// <param name="yStride">Elements from one token's output to the next.</param>
    internal static void Multiply(
        TensorType type, byte* weights, int rows, int columns, int firstRow, int endRow, Activations x, int tokens, float* y, nint yStride)
    {
        int groupRows = GroupRows(type), first = firstRow / groupRows, end = (endRow + groupRows - 1) / groupRows;
        switch (type)
        {
            case TensorType.F32 or TensorType.F16 or TensorType.BF16:
                MatMulFloat.Multiply(type, weights, rows, columns, first, end, x.Single, tokens, y, yStride);
                break;
            case TensorType.Q8_0:
                MatMulQuantized.Multiply<Q8_0Format>(weights, rows, columns, first, end, x.Blocks32, tokens, y, yStride);
                break;
            default:
                throw Unsupported(type);
        }
    }

    private static NotSupportedException Unsupported(TensorType type) => new(
        $"Weights of type {type} are not supported. Supported: {string.Join(", ", Enum.GetValues<TensorType>().Where(IsSupported))}.");
}
