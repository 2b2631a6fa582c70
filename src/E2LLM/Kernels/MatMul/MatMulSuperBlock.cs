using System.Runtime.Intrinsics.X86;

namespace E2LLM.Kernels.MatMul;

/// <summary>Products of K-type weights with quantised activations. The one place that chooses the instructions for them.</summary>
/// <remarks>Shapes: weights packed by <see cref="PackedSuperBlockRows"/>. Numerics: see <see cref="SuperBlockTile{TLayout, TFormat, TDot}"/>; every choice gives the same order of additions.</remarks>
internal static class MatMulSuperBlock
{
    /// <summary>Runs a product by the best instructions the machine has.</summary>
    internal static void Multiply<TLayout, TFormat>(in RowProduct<SuperBlockActivations> product)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
    {
        if (Avx512BW.IsSupported && PanelDot512.Takes<TLayout>())
        {
            product.Run<SuperBlockTile512<TLayout, TFormat>, SuperBlockPanel512<TLayout, TFormat>>();
        }
        else if (Avx512BW.IsSupported)
        {
            product.Run<SuperBlockTile512<TLayout, TFormat>>();
        }
        else if (AvxVnni.IsSupported)
        {
            product.Run<SuperBlockTile<TLayout, TFormat, AvxVnniDot>>();
        }
        else if (Avx2.IsSupported)
        {
            product.Run<SuperBlockTile<TLayout, TFormat, Avx2Dot>>();
        }
        else if (Vector128Dot<TLayout>.IsSupported)
        {
            product.Run<SuperBlockTile<TLayout, TFormat, Vector128Dot<TLayout>>>();
        }
        else
        {
            product.Run<SuperBlockTileScalar<TLayout, TFormat>>();
        }
    }
}
