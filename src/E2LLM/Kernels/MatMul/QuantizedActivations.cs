namespace E2LLM.Kernels.MatMul;

/// <summary>
/// Where quantised activations lie: quants <c>[tokens][columns]</c>, scales and sums <c>[tokens][columns / 32]</c>, row-major. Borrowed pointers.
/// </summary>
internal readonly unsafe struct QuantizedActivations(sbyte* quants, float* scales, int* sums) : IActivationRows<QuantizedActivations>
{
    internal readonly sbyte* Quants = quants;
    internal readonly float* Scales = scales;
    internal readonly int* Sums = sums;

    /// <summary>The same buffers from a later token on.</summary>
    public QuantizedActivations From(nint token, int columns) => new(
        Quants + (token * columns), Scales + (token * (columns / PackedQuantizedRows.BlockColumns)), Sums + (token * (columns / PackedQuantizedRows.BlockColumns)));

    /// <summary>The same buffers from a later column on.</summary>
    public QuantizedActivations FromColumn(int column) => new(
        Quants + column, Scales + (column / PackedQuantizedRows.BlockColumns), Sums + (column / PackedQuantizedRows.BlockColumns));
}
