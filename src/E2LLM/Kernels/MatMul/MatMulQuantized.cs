using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// Products of block-quantised weights with quantised activations. The one place that chooses the instructions for them.
/// </summary>
/// <remarks>
/// Shapes: weights packed by <see cref="PackedQuantizedRows"/>; y <c>[tokens][yStride]</c>, row-major, not overlapping the inputs. Numerics: see
/// <see cref="QuantizedTile"/>; a call may be cut anywhere along groups or tokens without changing a bit.
/// </remarks>
internal static unsafe class MatMulQuantized
{
    // Activations of a block of tokens stay in the second-level cache while the weights stream past.
    private const int TokenBlockBytes = 512 * 1024;

    /// <summary>Multiplies the rows of groups <c>[firstGroup, endGroup)</c> with all tokens, by the best instructions the machine has.</summary>
    /// <param name="weights">Packed groups, from group 0.</param>
    /// <param name="rows">Rows of the matrix; rows of the last group beyond it are not written.</param>
    /// <param name="columns">Columns, a multiple of 32.</param>
    /// <param name="firstGroup">First group of 8 rows.</param>
    /// <param name="endGroup">One past the last group.</param>
    /// <param name="x">Quantised activations.</param>
    /// <param name="tokens">Tokens, at least 1.</param>
    /// <param name="y">Output, addressed from row 0.</param>
    /// <param name="yStride">Elements from one token's output to the next.</param>
    internal static void Multiply<TLayout, TFormat>(
        byte* weights, int rows, int columns, int firstGroup, int endGroup, QuantizedActivations x, int tokens, float* y, nint yStride)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
    {
        var call = new Call(weights, rows, columns, firstGroup, endGroup, x, tokens, y, yStride);
        if (AvxVnni.IsSupported)
        {
            Run<TLayout, TFormat, AvxVnniDot>(call);
        }
        else if (Avx2.IsSupported && TLayout.FillsByte)
        {
            Run<TLayout, TFormat, Avx2SignedDot>(call);
        }
        else if (Avx2.IsSupported)
        {
            Run<TLayout, TFormat, Avx2Dot>(call);
        }
        else if (Vector128Dot<TLayout>.IsSupported)
        {
            Run<TLayout, TFormat, Vector128Dot<TLayout>>(call);
        }
        else
        {
            RunScalar<TLayout, TFormat>(call);
        }
    }

    /// <summary>The plain twin.</summary>
    internal static void RunScalar<TLayout, TFormat>(Call call)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
    {
        int endRow = Math.Min(call.EndGroup * PackedQuantizedRows.GroupRows, call.Rows);
        for (int row = call.FirstGroup * PackedQuantizedRows.GroupRows; row < endRow; row++)
        {
            byte* group = call.Group<TLayout, TFormat>(row / PackedQuantizedRows.GroupRows);
            QuantizedTileScalar.Run<TLayout, TFormat>(
                group, row % PackedQuantizedRows.GroupRows, call.Columns, call.X, call.Tokens, call.Y + row, call.YStride);
        }
    }

    /// <summary>By instructions of the caller's choice: for tests.</summary>
    internal static void Run<TLayout, TFormat, TDot>(Call call)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
        where TDot : IIntegerDot
    {
        int block = Math.Max(4, TokenBlockBytes / Math.Max(1, call.Columns) / 4 * 4);
        for (int token = 0; token < call.Tokens; token += block)
        {
            int tokenEnd = Math.Min(token + block, call.Tokens);
            for (int group = call.FirstGroup; group < call.EndGroup; group += 2)
            {
                TwoGroups<TLayout, TFormat, TDot>(call, group, token, tokenEnd);
            }
        }
    }

    private static void TwoGroups<TLayout, TFormat, TDot>(Call call, int group, int token, int tokenEnd)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
        where TDot : IIntegerDot
    {
        const int GroupRows = PackedQuantizedRows.GroupRows;
        int row = group * GroupRows, rowCount = Math.Min(Math.Min(2, call.EndGroup - group) * GroupRows, call.Rows - row);
        byte* group0 = call.Group<TLayout, TFormat>(group);

        // A missing second group is the first again; rows past the end go to a scratch.
        byte* group1 = rowCount > GroupRows ? call.Group<TLayout, TFormat>(group + 1) : group0;
        bool whole = rowCount == 2 * GroupRows;
        float* scratch = stackalloc float[4 * 2 * GroupRows];
        for (; token < tokenEnd; token += 4)
        {
            int count = Math.Min(4, tokenEnd - token);
            QuantizedActivations x = call.X.From(token, call.Columns);
            float* y = call.Y + (token * call.YStride) + row, target = whole ? y : scratch;
            nint stride = whole ? call.YStride : 2 * GroupRows;
            if (count == 1)
            {
                QuantizedTile.Run2x1<TLayout, TFormat, TDot>(group0, group1, call.Columns, x, target, GroupRows);
            }
            else
            {
                QuantizedTile.Run2x4<TLayout, TFormat, TDot>(group0, group1, call.Columns, x, count, target, stride, GroupRows);
            }

            for (int t = 0; !whole && t < count; t++)
            {
                new ReadOnlySpan<float>(scratch + (t * stride), rowCount).CopyTo(new Span<float>(y + (t * call.YStride), rowCount));
            }
        }
    }

    /// <summary>The arguments of one call.</summary>
    internal readonly struct Call(
        byte* weights, int rows, int columns, int firstGroup, int endGroup, QuantizedActivations x, int tokens, float* y, nint yStride)
    {
        internal readonly byte* Weights = weights;
        internal readonly int Rows = rows;
        internal readonly int Columns = columns;
        internal readonly int FirstGroup = firstGroup;
        internal readonly int EndGroup = endGroup;
        internal readonly QuantizedActivations X = x;
        internal readonly int Tokens = tokens;
        internal readonly float* Y = y;
        internal readonly nint YStride = yStride;

        internal byte* Group<TLayout, TFormat>(int group)
            where TLayout : IQuantLayout
            where TFormat : IQuantizedFormat<TLayout> => Weights + (group * PackedQuantizedRows.GroupBytes<TLayout, TFormat>(Columns));
    }
}
