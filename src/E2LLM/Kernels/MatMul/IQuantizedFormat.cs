using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// How the quants of 16 rows x 32 columns lie after loading, and how they become unsigned bytes. A line is 64 bytes: four neighbouring columns of each of the
/// 16 rows, <c>[16 rows][4 bytes]</c>; a step is four columns.
/// </summary>
internal unsafe interface IQuantLayout
{
    /// <summary>Bytes of the packed quants of 16 rows x 32 columns.</summary>
    static abstract int QuantBytes { get; }

    /// <summary>The largest unsigned quant: 15, 31, 63 or 255. Sums of two products with 255 could overflow 16 bits.</summary>
    static abstract int MaxQuant { get; }

    /// <summary>Columns <c>4 * step .. 4 * step + 3</c> of rows 0 to 7 as 8 x 4 unsigned bytes; step 0 to 7. Pass <c>quants + 32</c> for rows 8 to 15.</summary>
    static abstract Vector256<byte> Load256(byte* quants, int step);

    /// <summary>The same columns of all 16 rows.</summary>
    static abstract Vector512<byte> Load512(byte* quants, int step);

    /// <summary>The plain twin of both: one unsigned quant.</summary>
    static abstract int Get(byte* quants, int row, int column);

    /// <summary>Puts the 32 unsigned quants of one row in their place.</summary>
    static abstract void Put(byte* values, int row, byte* quants);
}

/// <summary>
/// A type with one scale per 32 columns. A weight is <c>scale * (unsigned - Bias)</c>, plus a minimum where the format has one. A stored
/// block is the half-precision scale, the half-precision minimum if any, then its quants.
/// </summary>
/// <typeparam name="TLayout">How its quants are packed.</typeparam>
internal unsafe interface IQuantizedFormat<TLayout>
    where TLayout : IQuantLayout
{
    /// <summary>What is subtracted from the unsigned quant.</summary>
    static abstract int Bias { get; }

    /// <summary>Whether a block has a minimum besides its scale.</summary>
    static abstract bool HasMinimum { get; }

    /// <summary>A stored block's quants as 32 unsigned bytes.</summary>
    static abstract void Decode(byte* stored, byte* values);

    /// <summary>The inverse of <see cref="Decode"/>.</summary>
    static abstract void Encode(byte* values, byte* stored);
}
