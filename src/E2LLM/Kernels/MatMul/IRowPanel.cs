namespace E2LLM.Kernels.MatMul;

/// <summary>
/// The inner loops of products with many tokens: two packed groups are taken apart once, a stretch of columns at a time, into a panel that stays in the first-level cache while all
/// tokens meet it. Gives each output the order of additions, and so the bits, of the <see cref="IRowTile{TX}"/> of the same format.
/// </summary>
/// <typeparam name="TX">The form of the activations.</typeparam>
internal unsafe interface IRowPanel<TX>
    where TX : unmanaged, IActivationRows<TX>
{
    /// <summary>Bytes of a panel of 32 rows and <paramref name="columns"/> columns.</summary>
    static abstract int PanelBytes(int columns);

    /// <summary>Bytes of so many columns of a packed group.</summary>
    static abstract nint StretchBytes(int columns);

    /// <summary>Whether these groups can be taken apart so; if they can, what each row's sums are multiples of: a power of two that they are multiplied with in the end.</summary>
    /// <param name="group0">The first group.</param>
    /// <param name="group1">The second, or the first again.</param>
    /// <param name="columns">Columns of the matrix.</param>
    /// <param name="units">Output: <c>[2 groups][16 rows]</c>, on a cache line.</param>
    static abstract bool Begin(byte* group0, byte* group1, int columns, float* units);

    /// <summary>Takes a stretch of two groups apart.</summary>
    /// <param name="group0">The stretch of the first group.</param>
    /// <param name="group1">That of the second, or of the first again.</param>
    /// <param name="depth">Columns of the stretch.</param>
    /// <param name="panel">Output, on a cache line.</param>
    /// <param name="units">What <see cref="Begin"/> gave.</param>
    static abstract void Fill(byte* group0, byte* group1, int depth, byte* panel, float* units);

    /// <summary>Adds the products of a panel and up to eight tokens to their sums.</summary>
    /// <param name="panel">The panel.</param>
    /// <param name="depth">Its columns.</param>
    /// <param name="x">Activations of the first token, from the panel's first column on.</param>
    /// <param name="columns">Columns of the matrix: from one token's activations to the next.</param>
    /// <param name="tokenCount">1 to 8.</param>
    /// <param name="sums"><c>[8 tokens][2 groups][16 rows]</c>, on a cache line; those of missing tokens hold nothing useful.</param>
    /// <param name="scratch"><see cref="RowProduct{TX}.ScratchBytes"/> bytes, on a cache line.</param>
    static abstract void RunEight(byte* panel, int depth, TX x, int columns, int tokenCount, float* sums, byte* scratch);
}
