namespace E2LLM.Kernels.MatMul;

/// <summary>
/// Where activations quantised for K types lie: quants <c>[tokens][columns]</c>, scales <c>[tokens][columns / 256]</c>, sums of 16 neighbours
/// <c>[tokens][columns / 16]</c>, row-major. Borrowed pointers.
/// </summary>
internal readonly unsafe struct SuperBlockActivations(sbyte* quants, float* scales, short* sums) : IActivationRows<SuperBlockActivations>
{
    internal readonly sbyte* Quants = quants;
    internal readonly float* Scales = scales;
    internal readonly short* Sums = sums;

    /// <summary>The same buffers from a later token on.</summary>
    public SuperBlockActivations From(nint token, int columns) =>
        new(Quants + (token * columns), Scales + (token * (columns / PackedSuperBlockRows.BlockColumns)), Sums + (token * (columns / 16)));

    /// <summary>The same buffers from a later column on.</summary>
    public SuperBlockActivations FromColumn(int column) => new(Quants + column, Scales + (column / PackedSuperBlockRows.BlockColumns), Sums + (column / 16));
}
