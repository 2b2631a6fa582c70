namespace E2LLM.Kernels.MatMul;

/// <summary>
/// A K type: super-blocks of 256 columns with one or two half-precision factors and small integer scales for 16 or 32 columns each. A weight is
/// <c>d * scale * (unsigned - Bias) - dMin * minimum</c>.
/// </summary>
/// <typeparam name="TLayout">How its quants are packed.</typeparam>
internal unsafe interface ISuperBlockFormat<TLayout>
    where TLayout : IQuantLayout
{
    /// <summary>What is subtracted from the unsigned quant.</summary>
    static abstract int Bias { get; }

    /// <summary>Whether sub-blocks of 32 have minima; scales are unsigned then, else signed.</summary>
    static abstract bool HasMinima { get; }

    /// <summary>Scales per 32 columns: 1 or 2.</summary>
    static abstract int ScalesPerSubBlock { get; }

    /// <summary>Takes a stored super-block apart.</summary>
    /// <param name="stored">The stored bytes.</param>
    /// <param name="values">Output: 256 unsigned quants.</param>
    /// <param name="scales">Output: 8 or 16 scales.</param>
    /// <param name="minima">Output: 8 minima, where the format has them.</param>
    /// <param name="factors">Output: d and, where the format has minima, dMin, as half-precision bits.</param>
    static abstract void Decode(byte* stored, byte* values, sbyte* scales, byte* minima, ushort* factors);

    /// <summary>The inverse of <see cref="Decode"/>.</summary>
    static abstract void Encode(byte* values, sbyte* scales, byte* minima, ushort* factors, byte* stored);
}
