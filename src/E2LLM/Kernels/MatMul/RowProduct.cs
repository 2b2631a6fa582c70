using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>Quantised activations, token after token.</summary>
/// <typeparam name="TSelf">The implementing type.</typeparam>
internal interface IActivationRows<TSelf>
{
    /// <summary>The same buffers from a later token on.</summary>
    TSelf From(nint token, int columns);

    /// <summary>The same buffers from a later column on, a multiple of 256.</summary>
    TSelf FromColumn(int column);
}

/// <summary>The inner loops of one product: a few packed groups of 16 rows times a few tokens. Every implementation of a format gives an output one order of additions.</summary>
/// <typeparam name="TX">The form of the activations.</typeparam>
internal unsafe interface IRowTile<TX>
    where TX : unmanaged, IActivationRows<TX>
{
    /// <summary>Groups that <see cref="RunFour"/> takes: 1 or 2.</summary>
    static abstract int Groups { get; }

    /// <summary>Bytes of one packed group.</summary>
    static abstract long GroupBytes(int columns);

    /// <summary>One group and one token, streaming the weights.</summary>
    /// <param name="group">The packed group.</param>
    /// <param name="columns">Columns of the matrix.</param>
    /// <param name="x">Activations of the token.</param>
    /// <param name="y">Output: 16 elements.</param>
    static abstract void RunOne(byte* group, int columns, TX x, float* y);

    /// <summary>One or two groups and up to four tokens. A missing token or group is a copy of the first: same inputs, same output address, same bits.</summary>
    /// <param name="group0">First packed group.</param>
    /// <param name="group1">Second packed group, or the first again; not looked at where <see cref="Groups"/> is 1.</param>
    /// <param name="columns">Columns of the matrix.</param>
    /// <param name="x">Activations of the first token.</param>
    /// <param name="tokenCount">2 to 4.</param>
    /// <param name="y">Output of the first row and token.</param>
    /// <param name="yStride">Elements from token to token.</param>
    /// <param name="secondGroup">Elements from an output of the first group to that of the second; 0 where there is none.</param>
    /// <param name="ahead">How many bytes further weights shall be fetched meanwhile; 0 for none. Changes no result.</param>
    static abstract void RunFour(byte* group0, byte* group1, int columns, TX x, int tokenCount, float* y, nint yStride, nint secondGroup, nint ahead);
}

/// <summary>
/// One product of packed quantised rows and activations, <c>y[t][r] = sum over c of w[r][c] * x[t][c]</c>: how groups and tokens are walked. A product may be cut
/// anywhere along groups or tokens without changing a bit. Borrowed pointers.
/// </summary>
/// <param name="weights">Packed groups, from group 0.</param>
/// <param name="rows">Rows of the matrix; rows of the last group beyond it are not written.</param>
/// <param name="columns">Columns of the matrix.</param>
/// <param name="firstGroup">First group of 16 rows.</param>
/// <param name="endGroup">One past the last group.</param>
/// <param name="x">Activations.</param>
/// <param name="tokens">Tokens, at least 1.</param>
/// <param name="y">Output <c>[tokens][yStride]</c>, addressed from row 0; overlaps no input.</param>
/// <param name="yStride">Elements from one token's output to the next.</param>
internal readonly unsafe struct RowProduct<TX>(
    byte* weights, int rows, int columns, int firstGroup, int endGroup, TX x, int tokens, float* y, nint yStride)
    where TX : unmanaged, IActivationRows<TX>
{
    private const int GroupRows = PackedQuantizedRows.GroupRows;

    // Activations of a block of tokens stay in the second-level cache while the weights stream past.
    private const int TokenBlockBytes = 512 * 1024;

    // A panel and what eight tokens bring to it stay in the first-level cache; the sums of all tokens of a block, in the second.
    private const int PanelColumns = 512;
    private const int PanelTokens = 256;
    private const int PanelRows = 2 * GroupRows;

    // Fewer tokens do not earn what a panel costs.
    private const int MinPanelTokens = 16;

    /// <summary>Runs the product by the given inner loops.</summary>
    internal void Run<TTile>()
        where TTile : IRowTile<TX>
    {
        int block = Math.Max(4, TokenBlockBytes / Math.Max(1, columns) / 4 * 4);
        for (int token = 0; token < tokens; token += block)
        {
            int tokenEnd = Math.Min(token + block, tokens);
            for (int group = firstGroup; group < endGroup; group += TTile.Groups)
            {
                RunGroups<TTile>(group, token, tokenEnd);
            }
        }
    }

    /// <summary>The same with panels for all but the last few tokens, where there are enough.</summary>
    internal void Run<TTile, TPanel>(int minTokens = MinPanelTokens)
        where TTile : IRowTile<TX>
        where TPanel : IRowPanel<TX>
    {
        if (tokens < minTokens)
        {
            Run<TTile>();
        }
        else
        {
            RunBlocks<TTile, TPanel>();
        }
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void RunBlocks<TTile, TPanel>()
        where TTile : IRowTile<TX>
        where TPanel : IRowPanel<TX>
    {
        // 64 bytes more, to start on a cache line; and room for the parts of eight sums.
        byte* panelMemory = stackalloc byte[TPanel.PanelBytes(PanelColumns) + 64], sumMemory = stackalloc byte[((PanelTokens + 8) * PanelRows * sizeof(float)) + 64];
        byte* panel = Aligned(panelMemory);
        float* sums = (float*)Aligned(sumMemory);
        int block = Math.Clamp(TokenBlockBytes / Math.Max(1, columns) / 8 * 8, 8, PanelTokens);
        for (int token = 0; token < tokens; token += block)
        {
            int tokenEnd = Math.Min(token + block, tokens), rest = (tokenEnd - token) % 8, panelEnd = rest > 4 ? tokenEnd : tokenEnd - rest;
            for (int group = firstGroup; group < endGroup; group += 2)
            {
                if (panelEnd > token)
                {
                    RunPanels<TTile, TPanel>(group, token, panelEnd, panel, sums);
                }

                if (tokenEnd > panelEnd)
                {
                    RunGroups<TTile>(group, panelEnd, tokenEnd);
                }
            }
        }
    }

    private static byte* Aligned(byte* memory) => (byte*)(((nint)memory + 63) & -64);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void RunPanels<TTile, TPanel>(int group, int token, int tokenEnd, byte* panel, float* sums)
        where TTile : IRowTile<TX>
        where TPanel : IRowPanel<TX>
    {
        long groupBytes = TTile.GroupBytes(columns);
        int row = group * GroupRows, rowCount = Math.Min(Math.Min(2, endGroup - group) * GroupRows, rows - row);
        byte* group0 = weights + (group * groupBytes), group1 = rowCount > GroupRows ? group0 + groupBytes : group0;
        int* parts = (int*)(sums + (PanelTokens * PanelRows));
        new Span<float>(sums, (tokenEnd - token + 7) / 8 * 8 * PanelRows).Clear();
        for (int column = 0; column < columns; column += PanelColumns)
        {
            int depth = Math.Min(PanelColumns, columns - column);
            nint offset = TPanel.StretchBytes(column);
            TPanel.Fill(group0 + offset, group1 + offset, depth, panel);
            for (int t = token; t < tokenEnd; t += 8)
            {
                TPanel.RunEight(panel, depth, x.From(t, columns).FromColumn(column), columns, Math.Min(8, tokenEnd - t), sums + ((t - token) * PanelRows), parts);
            }
        }

        for (int t = token; t < tokenEnd; t++)
        {
            float* source = sums + ((t - token) * PanelRows), target = y + (t * yStride) + row;
            if (rowCount == PanelRows)
            {
                // A call to copy would take longer than copying.
                Vector512.Load(source).Store(target);
                Vector512.Load(source + GroupRows).Store(target + GroupRows);
            }
            else
            {
                new ReadOnlySpan<float>(source, rowCount).CopyTo(new Span<float>(target, rowCount));
            }
        }
    }

    private void RunGroups<TTile>(int group, int token, int tokenEnd)
        where TTile : IRowTile<TX>
    {
        long groupBytes = TTile.GroupBytes(columns);
        int row = group * GroupRows, rowCount = Math.Min(Math.Min(TTile.Groups, endGroup - group) * GroupRows, rows - row);
        byte* group0 = weights + (group * groupBytes), group1 = rowCount > GroupRows ? group0 + groupBytes : group0;
        nint secondGroup = rowCount > GroupRows ? GroupRows : 0;

        // Rows past the end go to a scratch.
        bool whole = rowCount % GroupRows == 0;
        float* scratch = stackalloc float[4 * 2 * GroupRows];

        // The first tokens meet weights that come from memory; the second find them in a cache, and have time to fetch those of the next groups.
        nint ahead = Prefetch.Distance, next = (nint)groupBytes * TTile.Groups;
        for (; token < tokenEnd; token += 4, (ahead, next) = (next, 0))
        {
            int count = Math.Min(4, tokenEnd - token);
            TX first = x.From(token, columns);
            float* target = y + (token * yStride) + row, written = whole ? target : scratch;
            if (count > 1)
            {
                TTile.RunFour(group0, group1, columns, first, count, written, whole ? yStride : 2 * GroupRows, secondGroup, ahead);
            }
            else
            {
                TTile.RunOne(group0, columns, first, written);
                if (secondGroup != 0)
                {
                    TTile.RunOne(group1, columns, first, written + GroupRows);
                }
            }

            for (int t = 0; !whole && t < count; t++)
            {
                new ReadOnlySpan<float>(scratch + (t * 2 * GroupRows), rowCount).CopyTo(new Span<float>(target + (t * yStride), rowCount));
            }
        }
    }
}
