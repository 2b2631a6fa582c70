using System.Runtime.CompilerServices;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>Products of binary16 weights packed by <see cref="PackedHalfRows"/>; called by <see cref="MatMulFloat"/>, whose shapes and laws hold here.</summary>
/// <remarks>
/// Numerics: widening is exact, so an output has the same bits as that of the same weights in F32. One token, or a tile of them: words are widened in registers (<see cref="HalfTile"/>). More: a
/// panel of columns is widened once into the first-level cache for all tokens of a block; sums rest in y between panels, and a float stored and loaded is the same float.
/// </remarks>
internal static unsafe class MatMulHalf
{
    private const int GroupRows = PackedFloatRows.GroupRows;

    // Columns that are widened at a time, an even number: 32 KiB for two vectors of 16 lanes.
    private const int PanelColumns = 256;

    /// <summary>Runs a call at the given width.</summary>
    internal static void Run<TVector, TLanes>(in MatMulFloat.Call call)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        int firstRow = call.FirstGroup * GroupRows, endRow = Math.Min(call.EndGroup * GroupRows, call.Rows);
        if (call.Tokens == 1)
        {
            for (int row = firstRow; row < endRow; row += 4 * TLanes.Count)
            {
                OneToken<TVector, TLanes>(call, row, endRow);
            }

            return;
        }

        int block = Math.Max(8, MatMulFloat.TokenBlockBytes / (Math.Max(1, call.Columns) * sizeof(float)) / 8 * 8);
        for (int token = 0; token < call.Tokens; token += block)
        {
            int tokenEnd = Math.Min(token + block, call.Tokens);
            for (int row = firstRow; row < endRow; row += 2 * TLanes.Count)
            {
                ManyTokens<TVector, TLanes>(call, row, endRow, token, tokenEnd);
            }
        }
    }

    [SkipLocalsInit]
    private static void OneToken<TVector, TLanes>(in MatMulFloat.Call call, int row, int endRow)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        int lanes = TLanes.Count;
        float* scratch = stackalloc float[4 * GroupRows];
        bool whole = row + (4 * lanes) <= endRow, plain = false;
        float* y = whole ? call.Y + row : scratch;

        // Vectors past the end repeat the first one; what they store goes nowhere.
        int row1 = row + lanes < endRow ? row + lanes : row, row2 = row + (2 * lanes) < endRow ? row + (2 * lanes) : row, row3 = row + (3 * lanes) < endRow ? row + (3 * lanes) : row;
        for (int group = row / GroupRows; group <= Math.Max(row1, Math.Max(row2, row3)) / GroupRows; group++)
        {
            plain |= PackedHalfRows.IsPlain(Group(call, group * GroupRows), call.Columns);
        }

        if (plain)
        {
            OneTokenWidened<TVector, TLanes>(call, row, row1, row2, row3, y);
        }
        else
        {
            nint skip = (nint)PackedHalfRows.GroupBytes(call.Columns) * Math.Max(0, (4 * lanes / GroupRows) - 1);
            HalfTile.Run4x1<TVector, TLanes>(
                Words(call, row), Words(call, row1), Words(call, row2), Words(call, row3), PackedHalfRows.Scale, call.X, call.Columns, y, y + lanes, y + (2 * lanes), y + (3 * lanes), skip);
        }

        if (!whole)
        {
            new ReadOnlySpan<float>(scratch, endRow - row).CopyTo(new Span<float>(call.Y + row, endRow - row));
        }
    }

    // At least one of the groups holds its halves as they are.
    [SkipLocalsInit]
    private static void OneTokenWidened<TVector, TLanes>(in MatMulFloat.Call call, int row0, int row1, int row2, int row3, float* y)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        const int Columns = 32, Panel = Columns * GroupRows;
        float* panels = stackalloc float[4 * Panel];
        int lanes = TLanes.Count;
        for (int first = 0; first < call.Columns; first += Columns)
        {
            int depth = Math.Min(Columns, call.Columns - first);
            Widen<TVector, TLanes>(call, row0, first, depth, panels, lanes);
            Widen<TVector, TLanes>(call, row1, first, depth, panels + Panel, lanes);
            Widen<TVector, TLanes>(call, row2, first, depth, panels + (2 * Panel), lanes);
            Widen<TVector, TLanes>(call, row3, first, depth, panels + (3 * Panel), lanes);
            FloatTile.Run4x1<TVector, TLanes, SingleElement>(
                (byte*)panels, (byte*)(panels + Panel), (byte*)(panels + (2 * Panel)), (byte*)(panels + (3 * Panel)), lanes * sizeof(float), call.X + first, depth,
                y, y + lanes, y + (2 * lanes), y + (3 * lanes), accumulate: first > 0, stream: false);
        }
    }

    [SkipLocalsInit]
    private static void ManyTokens<TVector, TLanes>(in MatMulFloat.Call call, int row, int endRow, int token, int tokenEnd)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        int lanes = TLanes.Count, tile = FloatTile.Tokens<TVector, TLanes>();
        if (row + (2 * lanes) <= endRow)
        {
            TwoVectors<TVector, TLanes>(call, row, row + lanes, token, tokenEnd, call.Y + (token * call.YStride) + row, call.YStride);
            return;
        }

        // Rows past the end go to a scratch, a tile of tokens at a time.
        float* scratch = stackalloc float[8 * 2 * GroupRows];
        for (; token < tokenEnd; token += tile)
        {
            int count = Math.Min(tile, tokenEnd - token);
            TwoVectors<TVector, TLanes>(call, row, row + lanes < endRow ? row + lanes : row, token, token + count, scratch, 2 * lanes);
            for (int t = 0; t < count; t++)
            {
                new ReadOnlySpan<float>(scratch + (t * 2 * lanes), endRow - row).CopyTo(new Span<float>(call.Y + ((token + t) * call.YStride) + row, endRow - row));
            }
        }
    }

    [SkipLocalsInit]
    private static void TwoVectors<TVector, TLanes>(in MatMulFloat.Call call, int row0, int row1, int token, int tokenEnd, float* y, nint yStride)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        int lanes = TLanes.Count, tile = FloatTile.Tokens<TVector, TLanes>();
        if (tokenEnd - token <= tile && !PackedHalfRows.IsPlain(Group(call, row0), call.Columns) && !PackedHalfRows.IsPlain(Group(call, row1), call.Columns))
        {
            nint skip = (nint)PackedHalfRows.GroupBytes(call.Columns) * Math.Max(0, (2 * lanes / GroupRows) - 1);
            HalfTile.Run<TVector, TLanes>(
                Words(call, row0), Words(call, row1), PackedHalfRows.Scale, call.X + ((nint)token * call.Columns), call.Columns, tokenEnd - token, call.Columns, y, yStride, skip);
            return;
        }

        float* panel = stackalloc float[PanelColumns * 2 * GroupRows];
        for (int first = 0; first == 0 || first < call.Columns; first += PanelColumns)
        {
            int depth = Math.Min(PanelColumns, call.Columns - first);
            Widen<TVector, TLanes>(call, row0, first, depth, panel, 2 * lanes);
            Widen<TVector, TLanes>(call, row1, first, depth, panel + lanes, 2 * lanes);
            for (int t = token; t < tokenEnd; t += tile)
            {
                FloatTile.Run<TVector, TLanes, SingleElement>(
                    (byte*)panel, (byte*)(panel + lanes), 2 * lanes * sizeof(float), call.X + ((nint)t * call.Columns) + first, call.Columns, Math.Min(tile, tokenEnd - t), depth,
                    y + ((t - token) * yStride), yStride, lanes, first > 0);
            }
        }
    }

    /// <summary><c>panel[k * stride + lane] = w[row + lane][first + k]</c> for k below <paramref name="depth"/>; <paramref name="first"/> is even.</summary>
    private static void Widen<TVector, TLanes>(in MatMulFloat.Call call, int row, int first, int depth, float* panel, nint stride)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        byte* group = Group(call, row);
        if (!PackedHalfRows.IsPlain(group, call.Columns))
        {
            HalfTile.Widen<TVector, TLanes>(Words(call, row) + ((nint)first / 2 * GroupRows), PackedHalfRows.Scale, depth, panel, stride);
            return;
        }

        ushort* halves = (ushort*)group + ((nint)first * GroupRows) + (row % GroupRows);
        for (nint k = 0; k < depth; k++)
        {
            TLanes.Store(TLanes.LoadHalf(halves + (k * GroupRows)), panel + (k * stride));
        }
    }

    private static byte* Group(in MatMulFloat.Call call, int row) => call.Weights + (row / GroupRows * PackedHalfRows.GroupBytes(call.Columns));

    private static uint* Words(in MatMulFloat.Call call, int row) => (uint*)Group(call, row) + (row % GroupRows);
}
