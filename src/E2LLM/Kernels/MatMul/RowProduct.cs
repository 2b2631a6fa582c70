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

    /// <summary>Whether there is <see cref="RunEight"/>.</summary>
    static virtual bool HasEight => false;

    /// <summary>Two groups and up to eight tokens.</summary>
    /// <param name="group0">First packed group.</param>
    /// <param name="group1">Second packed group, or the first again.</param>
    /// <param name="columns">Columns of the matrix.</param>
    /// <param name="x">Activations of the first token.</param>
    /// <param name="tokenCount">1 to 8; a missing token is the first again.</param>
    /// <param name="sums">Output: <c>[8 tokens][2 groups][16 rows]</c>, on a cache line, zero; those of missing tokens hold nothing useful.</param>
    /// <param name="scratch"><see cref="RowProduct{TX}.ScratchBytes"/> bytes, on a cache line.</param>
    /// <param name="ahead">As for <see cref="RunFour"/>.</param>
    static virtual void RunEight(byte* group0, byte* group1, int columns, TX x, int tokenCount, float* sums, byte* scratch, nint ahead) =>
        throw new NotSupportedException("This tile takes four tokens.");
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

    // So many tokens are quicker as four and one.
    private const int FourAndOne = 5;

    // Eight tokens keep a group so long that the next lines need not be asked for so early; nearer, they take less of the first-level cache.
    private const int EightAhead = 2048;

    // What a panel's loop, or a tile of eight tokens, may keep to itself.
    internal const int ScratchBytes = 2048;

    // Fewer tokens do not earn what a panel costs: to fill it is to wait for memory.
    private const int MinPanelTokens = 48;

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
        where TPanel : IRowPanel<TX> => Run<TTile, TPanel, TPanel>(minTokens);

    /// <summary>The same with other panels for those groups that the first kind does not take.</summary>
    internal void Run<TTile, TPanel, TOtherPanel>(int minTokens = MinPanelTokens)
        where TTile : IRowTile<TX>
        where TPanel : IRowPanel<TX>
        where TOtherPanel : IRowPanel<TX>
    {
        if (tokens < minTokens)
        {
            Run<TTile>();
        }
        else
        {
            RunBlocks<TTile, TPanel, TOtherPanel>();
        }
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void RunBlocks<TTile, TPanel, TOtherPanel>()
        where TTile : IRowTile<TX>
        where TPanel : IRowPanel<TX>
        where TOtherPanel : IRowPanel<TX>
    {
        // 64 bytes more, to start on a cache line.
        byte* panelMemory = stackalloc byte[Math.Max(TPanel.PanelBytes(PanelColumns), TOtherPanel.PanelBytes(PanelColumns)) + 64], sumMemory = stackalloc byte[((PanelTokens + 1) * PanelRows * sizeof(float)) + ScratchBytes + 64];
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
                    if (!TryPanels<TTile, TPanel>(group, token, panelEnd, panel, sums))
                    {
                        TryPanels<TTile, TOtherPanel>(group, token, panelEnd, panel, sums);
                    }
                }

                if (tokenEnd > panelEnd)
                {
                    RunGroups<TTile>(group, panelEnd, tokenEnd);
                }
            }
        }
    }

    private static byte* Aligned(byte* memory) => (byte*)(((nint)memory + 63) & -64);

    // False, and nothing done, where these groups are none for such panels.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private bool TryPanels<TTile, TPanel>(int group, int token, int tokenEnd, byte* panel, float* sums)
        where TTile : IRowTile<TX>
        where TPanel : IRowPanel<TX>
    {
        long groupBytes = TTile.GroupBytes(columns);
        int row = group * GroupRows, rowCount = Math.Min(Math.Min(2, endGroup - group) * GroupRows, rows - row);
        byte* group0 = weights + (group * groupBytes), group1 = rowCount > GroupRows ? group0 + groupBytes : group0;
        float* units = sums + (PanelTokens * PanelRows);
        byte* scratch = (byte*)(units + PanelRows);
        if (!TPanel.Begin(group0, group1, columns, units))
        {
            return false;
        }

        new Span<float>(sums, (tokenEnd - token + 7) / 8 * 8 * PanelRows).Clear();
        for (int column = 0; column < columns; column += PanelColumns)
        {
            int depth = Math.Min(PanelColumns, columns - column);
            nint offset = TPanel.StretchBytes(column);
            TPanel.Fill(group0 + offset, group1 + offset, depth, panel, units);
            for (int t = token; t < tokenEnd; t += 8)
            {
                TPanel.RunEight(panel, depth, x.From(t, columns).FromColumn(column), columns, Math.Min(8, tokenEnd - t), sums + ((t - token) * PanelRows), scratch);
            }
        }

        Vector512<float> unit0 = Vector512.Load(units), unit1 = Vector512.Load(units + GroupRows);
        for (int t = token; t < tokenEnd; t++)
        {
            float* source = sums + ((t - token) * PanelRows), target = y + (t * yStride) + row, whole = rowCount == PanelRows ? target : source;
            (Vector512.Load(source) * unit0).Store(whole);
            (Vector512.Load(source + GroupRows) * unit1).Store(whole + GroupRows);
            if (whole == source)
            {
                new ReadOnlySpan<float>(source, rowCount).CopyTo(new Span<float>(target, rowCount));
            }
        }

        return true;
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
        if (TTile.HasEight && tokenEnd - token > FourAndOne)
        {
            int done = RunEights<TTile>(group0, group1, row, rowCount, token, tokenEnd);
            (token, ahead, next) = (token + done, next, 0);
        }

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

    // All tokens but for a rest of at most five; how many.
    [SkipLocalsInit]
    private int RunEights<TTile>(byte* group0, byte* group1, int row, int rowCount, int token, int tokenEnd)
        where TTile : IRowTile<TX>
    {
        byte* memory = stackalloc byte[(8 * PanelRows * sizeof(float)) + ScratchBytes + 64];
        float* sums = (float*)Aligned(memory);
        int first = token;
        for (; tokenEnd - token > FourAndOne; token += 8)
        {
            int count = Math.Min(8, tokenEnd - token);
            new Span<float>(sums, 8 * PanelRows).Clear();
            TTile.RunEight(group0, group1, columns, x.From(token, columns), count, sums, (byte*)(sums + (8 * PanelRows)), token == first ? EightAhead : 0);
            for (int t = 0; t < count; t++)
            {
                new ReadOnlySpan<float>(sums + (t * PanelRows), rowCount).CopyTo(new Span<float>(y + ((token + t) * yStride) + row, rowCount));
            }
        }

        return Math.Min(token, tokenEnd) - first;
    }
}
