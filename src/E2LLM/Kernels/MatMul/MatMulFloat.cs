using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// Products of plain float weights: <c>y[t][r] = sum over c of w[r][c] * x[t][c]</c>. The one place that chooses the width for them.
/// </summary>
/// <remarks>
/// Shapes: weights packed by <see cref="PackedFloatRows"/> (F16: <see cref="PackedHalfRows"/>); x <c>[tokens][columns]</c> and y <c>[tokens][yStride]</c>, row-major.
/// y may not overlap the inputs. Numerics: see <see cref="FloatTile"/>; each output has one order, whatever the rows, tokens and groups of a call, so
/// a call may be cut anywhere along groups or tokens without changing a bit. Widths agree but for the rounding of multiply-add where
/// a machine has no fused one.
/// </remarks>
internal static unsafe class MatMulFloat
{
    // Activations of a block of tokens stay in the second-level cache while the weights stream past.
    internal const int TokenBlockBytes = 512 * 1024;

    // From so many tokens on, two-byte weights are widened once instead of once per tile; and so many columns at a time.
    private const int WideningTokens = 12;
    private const int WideningColumns = 256;

    /// <summary>Multiplies the rows of groups <c>[firstGroup, endGroup)</c> with all tokens, at the widest width the machine has.</summary>
    /// <param name="type"><see cref="TensorType.F32"/>, <see cref="TensorType.F16"/> or <see cref="TensorType.BF16"/>.</param>
    /// <param name="weights">Packed groups, from group 0.</param>
    /// <param name="rows">Rows of the matrix; rows of the last group beyond it are not written.</param>
    /// <param name="columns">Columns of the matrix.</param>
    /// <param name="firstGroup">First group of 16 rows.</param>
    /// <param name="endGroup">One past the last group.</param>
    /// <param name="x">Activations.</param>
    /// <param name="tokens">Tokens, at least 1.</param>
    /// <param name="y">Output, addressed from row 0.</param>
    /// <param name="yStride">Elements from one token's output to the next.</param>
    internal static void Multiply(
        TensorType type, byte* weights, int rows, int columns, int firstGroup, int endGroup, float* x, int tokens, float* y, nint yStride)
    {
        var call = new Call(weights, rows, columns, firstGroup, endGroup, x, tokens, y, yStride);
        if (Vector512.IsHardwareAccelerated)
        {
            Multiply<Vector512<float>, FloatLanes512>(type, call);
        }
        else if (Vector256.IsHardwareAccelerated)
        {
            Multiply<Vector256<float>, FloatLanes256>(type, call);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            Multiply<Vector128<float>, FloatLanes128>(type, call);
        }
        else
        {
            Multiply<float, FloatLanesScalar>(type, call);
        }
    }

    /// <summary>The same at a width of the caller's choice: for tests.</summary>
    internal static void Multiply<TVector, TLanes>(TensorType type, Call call)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        switch (type)
        {
            case TensorType.F32:
                Run<TVector, TLanes, SingleElement>(call);
                break;
            case TensorType.F16:
                MatMulHalf.Run<TVector, TLanes>(call);
                break;
            case TensorType.BF16:
                Run<TVector, TLanes, BFloat16Element>(call);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(type), type, "Not a plain float type.");
        }
    }

    private static void Run<TVector, TLanes, TElement>(Call call)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TElement : IFloatElement
    {
        int endRow = Math.Min(call.EndGroup * PackedFloatRows.GroupRows, call.Rows);
        int firstRow = call.FirstGroup * PackedFloatRows.GroupRows;
        if (call.Tokens == 1)
        {
            for (int row = firstRow; row < endRow; row += FloatTile.OneTokenVectors<TVector, TLanes, TElement>() * TLanes.Count)
            {
                OneToken<TVector, TLanes, TElement>(call, row, endRow);
            }

            return;
        }

        int block = Math.Max(8, TokenBlockBytes / (Math.Max(1, call.Columns) * sizeof(float)) / 8 * 8);
        for (int token = 0; token < call.Tokens; token += block)
        {
            int tokenEnd = Math.Min(token + block, call.Tokens);
            for (int row = firstRow; row < endRow; row += 2 * TLanes.Count)
            {
                if (tokenEnd - token >= WideningTokens && TElement.Bytes != sizeof(float) && row + (2 * TLanes.Count) <= endRow)
                {
                    WidenedVectors<TVector, TLanes, TElement>(call, row, token, tokenEnd);
                }
                else
                {
                    TwoVectors<TVector, TLanes, TElement>(call, row, endRow, token, tokenEnd);
                }
            }
        }
    }

    // Widens a panel of weights once for all tokens of the block, a stretch of columns at a time so that it stays in the first-level cache. Sums
    // rest in y between stretches: a float stored and loaded is the same float.
    [SkipLocalsInit]
    private static void WidenedVectors<TVector, TLanes, TElement>(Call call, int row, int token, int tokenEnd)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TElement : IFloatElement
    {
        int lanes = TLanes.Count;
        float* panel = stackalloc float[WideningColumns * 2 * PackedFloatRows.GroupRows];
        byte* w0 = call.Row<TElement>(row), w1 = call.Row<TElement>(row + lanes);
        nint stride = PackedFloatRows.GroupRows * TElement.Bytes;
        for (int first = 0; first < call.Columns; first += WideningColumns)
        {
            int depth = Math.Min(WideningColumns, call.Columns - first);
            for (nint k = 0; k < depth; k++)
            {
                TLanes.Store(TElement.Load<TVector, TLanes>(w0 + ((first + k) * stride)), panel + (k * 2 * lanes));
                TLanes.Store(TElement.Load<TVector, TLanes>(w1 + ((first + k) * stride)), panel + (k * 2 * lanes) + lanes);
            }

            int tile = FloatTile.Tokens<TVector, TLanes>();
            for (int t = token; t < tokenEnd; t += tile)
            {
                float* x = call.X + ((nint)t * call.Columns) + first, y = call.Y + (t * call.YStride) + row;
                FloatTile.Run<TVector, TLanes, SingleElement>(
                    (byte*)panel, (byte*)(panel + lanes), 2 * lanes * sizeof(float), x, call.Columns, Math.Min(tile, tokenEnd - t), depth, y, call.YStride, lanes, first > 0);
            }
        }
    }

    private static void OneToken<TVector, TLanes, TElement>(Call call, int row, int endRow)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TElement : IFloatElement
    {
        int lanes = TLanes.Count, vectors = FloatTile.OneTokenVectors<TVector, TLanes, TElement>();
        float* scratch = stackalloc float[4 * PackedFloatRows.GroupRows];
        bool whole = row + (vectors * lanes) <= endRow;
        float* target = whole ? call.Y + row : scratch;

        // Vectors past the end repeat the first one; what they store goes nowhere.
        byte* w0 = call.Row<TElement>(row);
        byte* w1 = row + lanes < endRow ? call.Row<TElement>(row + lanes) : w0;
        nint stride = PackedFloatRows.GroupRows * TElement.Bytes;
        if (vectors == 2)
        {
            FloatTile.Run2x1<TVector, TLanes, TElement>(w0, w1, stride, call.X, call.Columns, target, target + lanes, skip: stride * call.Columns);
        }
        else
        {
            byte* w2 = row + (2 * lanes) < endRow ? call.Row<TElement>(row + (2 * lanes)) : w0;
            byte* w3 = row + (3 * lanes) < endRow ? call.Row<TElement>(row + (3 * lanes)) : w0;
            FloatTile.Run4x1<TVector, TLanes, TElement>(
                w0, w1, w2, w3, stride, call.X, call.Columns, target, target + lanes, target + (2 * lanes), target + (3 * lanes), accumulate: false, stream: true);
        }

        if (!whole)
        {
            new ReadOnlySpan<float>(scratch, endRow - row).CopyTo(new Span<float>(call.Y + row, endRow - row));
        }
    }

    private static void TwoVectors<TVector, TLanes, TElement>(Call call, int row, int endRow, int token, int tokenEnd)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TElement : IFloatElement
    {
        int lanes = TLanes.Count, stride = PackedFloatRows.GroupRows * TElement.Bytes;
        byte* w0 = call.Row<TElement>(row), w1 = row + lanes < endRow ? call.Row<TElement>(row + lanes) : w0;
        bool whole = row + (2 * lanes) <= endRow;
        int tile = FloatTile.Tokens<TVector, TLanes>();
        float* scratch = stackalloc float[8 * 2 * PackedFloatRows.GroupRows];
        for (; token < tokenEnd; token += tile)
        {
            int count = Math.Min(tile, tokenEnd - token);
            float* x = call.X + ((nint)token * call.Columns), y = call.Y + (token * call.YStride) + row;
            if (whole)
            {
                FloatTile.Run<TVector, TLanes, TElement>(w0, w1, stride, x, call.Columns, count, call.Columns, y, call.YStride, lanes, false);
                continue;
            }

            FloatTile.Run<TVector, TLanes, TElement>(w0, w1, stride, x, call.Columns, count, call.Columns, scratch, 2 * lanes, lanes, false);
            for (int t = 0; t < count; t++)
            {
                new ReadOnlySpan<float>(scratch + (t * 2 * lanes), endRow - row).CopyTo(new Span<float>(y + (t * call.YStride), endRow - row));
            }
        }
    }

    /// <summary>The arguments of one call.</summary>
    internal readonly struct Call(byte* weights, int rows, int columns, int firstGroup, int endGroup, float* x, int tokens, float* y, nint yStride)
    {
        internal readonly byte* Weights = weights;
        internal readonly int Rows = rows;
        internal readonly int Columns = columns;
        internal readonly int FirstGroup = firstGroup;
        internal readonly int EndGroup = endGroup;
        internal readonly float* X = x;
        internal readonly int Tokens = tokens;
        internal readonly float* Y = y;
        internal readonly nint YStride = yStride;

        /// <summary>First element of a row: rows of a group lie side by side, groups one after another.</summary>
        internal byte* Row<TElement>(int row)
            where TElement : IFloatElement =>
            Weights + ((((long)(row / PackedFloatRows.GroupRows) * Columns * PackedFloatRows.GroupRows) + (row % PackedFloatRows.GroupRows)) * TElement.Bytes);
    }
}
