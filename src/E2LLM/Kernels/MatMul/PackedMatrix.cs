namespace E2LLM.Kernels.MatMul;

/// <summary>
/// Rows repacked into groups, for every supported element type: the one place where a <see cref="TensorType"/> chooses a layout and a product.
/// </summary>
internal static unsafe class PackedMatrix
{
    /// <summary>Rows that a product may be split at: a whole number of groups of every type, and of the widest tiles.</summary>
    internal const int SplitRows = 32;

    private static readonly RowPacking
        F32 = new FloatRowPacking(TensorType.F32, sizeof(float)),
        F16 = new HalfRowPacking(),
        BF16 = new FloatRowPacking(TensorType.BF16, sizeof(ushort)),
        Q8_0 = new QuantizedRowPacking<Bits8, Q8_0Format>(),
        Q4_0 = new QuantizedRowPacking<Bits4, Q4_0Format>(),
        Q4_1 = new QuantizedRowPacking<Bits4, Q4_1Format>(),
        Q5_0 = new QuantizedRowPacking<Bits5, Q5_0Format>(),
        Q5_1 = new QuantizedRowPacking<Bits5, Q5_1Format>(),
        Q4_K = new SuperBlockRowPacking<Bits4, Q4_KFormat>(),
        Q5_K = new SuperBlockRowPacking<Bits5, Q5_KFormat>(),
        Q6_K = new SuperBlockRowPacking<Bits6, Q6_KFormat>();

    /// <summary>Whether weights of this type can be packed and multiplied.</summary>
    internal static bool IsSupported(TensorType type) => Find(type) is not null;

    /// <summary>Which form of the activations a type multiplies with.</summary>
    internal static ActivationForm FormOf(TensorType type) => Get(type).Form;

    /// <summary>Rows per group.</summary>
    internal static int GroupRows(TensorType type) => Get(type).GroupRows;

    /// <summary>Bytes of one group.</summary>
    internal static long GroupBytes(TensorType type, int columns) => Get(type).GroupBytes(columns);

    /// <summary>Bytes of a whole matrix, the zero rows that fill the last group included.</summary>
    internal static long MatrixBytes(TensorType type, long rows, int columns)
    {
        RowPacking packing = Get(type);
        return checked((rows + packing.GroupRows - 1) / packing.GroupRows * packing.GroupBytes(columns));
    }

    /// <summary>Packs one group of stored rows into zeroed memory.</summary>
    internal static void PackGroup(TensorType type, byte* rows, long rowBytes, int rowCount, int columns, byte* packed) =>
        Get(type).PackGroup(rows, rowBytes, rowCount, columns, packed);

    /// <summary>Gives one stored row back, bit for bit.</summary>
    internal static void UnpackRow(TensorType type, byte* group, int row, int columns, byte* stored, long rowBytes) =>
        Get(type).UnpackRow(group, row, columns, stored, rowBytes);

    /// <summary>
    /// <c>y[t][r] = sum over c of w[r][c] * x[t][c]</c> for the rows <c>[firstRow, endRow)</c>; see <see cref="MatMulFloat"/>, <see cref="MatMulQuantized"/> and <see cref="MatMulSuperBlock"/>.
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
        RowPacking packing = Get(type);
        int first = firstRow / packing.GroupRows, end = (endRow + packing.GroupRows - 1) / packing.GroupRows;
        packing.Multiply(weights, rows, columns, first, end, x, tokens, y, yStride);
    }

    private static RowPacking? Find(TensorType type) => type switch
    {
        TensorType.F32 => F32,
        TensorType.F16 => F16,
        TensorType.BF16 => BF16,
        TensorType.Q8_0 => Q8_0,
        TensorType.Q4_0 => Q4_0,
        TensorType.Q4_1 => Q4_1,
        TensorType.Q5_0 => Q5_0,
        TensorType.Q5_1 => Q5_1,
        TensorType.Q4_K => Q4_K,
        TensorType.Q5_K => Q5_K,
        TensorType.Q6_K => Q6_K,
        _ => null,
    };

    private static RowPacking Get(TensorType type) => Find(type) ?? throw new NotSupportedException(
        $"Weights of type {type} are not supported. Supported: {string.Join(", ", Enum.GetValues<TensorType>().Where(IsSupported))}.");
}
