using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// How the quants of 8 rows x 32 columns lie after loading, and how they become unsigned bytes. A weight is
/// <c>scale * (unsigned - Bias)</c>, plus a minimum where the format has one.
/// </summary>
internal unsafe interface IQuantizedFormat
{
    /// <summary>Bytes of the packed quants of 8 rows x 32 columns.</summary>
    static abstract int QuantBytes { get; }

    /// <summary>What is subtracted from the unsigned quant.</summary>
    static abstract int Bias { get; }

    /// <summary>Whether a block has a minimum besides its scale.</summary>
    static abstract bool HasMinimum { get; }

    /// <summary>Whether unsigned quants fill all 8 bits: sums of two products could then overflow 16 bits.</summary>
    static abstract bool FillsByte { get; }

    /// <summary>Columns <c>4 * step .. 4 * step + 3</c> of all 8 rows as 8 x 4 unsigned bytes; step 0 to 3.</summary>
    static abstract Vector256<byte> LoadLow(byte* quants, int step);

    /// <summary>Columns <c>16 + 4 * step .. 16 + 4 * step + 3</c> of all 8 rows; step 0 to 3.</summary>
    static abstract Vector256<byte> LoadHigh(byte* quants, int step);

    /// <summary>The plain twin of both: one unsigned quant.</summary>
    static abstract int Load(byte* quants, int row, int column);

    /// <summary>Where the quants of a stored block begin: after its half-precision scale, and minimum where there is one.</summary>
    static abstract int StoredQuantsOffset { get; }

    /// <summary>Puts the quants of one stored block of one row in their place.</summary>
    /// <param name="stored">The stored block's quants.</param>
    /// <param name="row">Row within the group, 0 to 7.</param>
    /// <param name="quants">Packed quants of the 8 rows, zero where nothing was put yet.</param>
    static abstract void Pack(byte* stored, int row, byte* quants);

    /// <summary>The inverse of <see cref="Pack"/>.</summary>
    static abstract void Unpack(byte* quants, int row, byte* stored);
}
