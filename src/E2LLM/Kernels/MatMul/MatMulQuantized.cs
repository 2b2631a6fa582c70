using System.Runtime.Intrinsics.X86;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// Products of weights with one scale per 32 columns with quantised activations. The one place that chooses the instructions for them.
/// </summary>
/// <remarks>Shapes: weights packed by <see cref="PackedQuantizedRows"/>. Numerics: see <see cref="QuantizedTile{TLayout, TFormat, TDot}"/>; every choice gives the same order of additions.</remarks>
internal static class MatMulQuantized
{
    /// <summary>Runs a product by the best instructions the machine has.</summary>
    internal static void Multiply<TLayout, TFormat>(in RowProduct<QuantizedActivations> product)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
    {
        if (Avx512BW.IsSupported && PanelDot512.Takes<TLayout>())
        {
            product.Run<QuantizedTile512<TLayout, TFormat>, NibblePanel512<TLayout, TFormat>, QuantizedPanel512<TLayout, TFormat>>();
        }
        else if (Avx512BW.IsSupported && AvxVnni.IsSupported && !TFormat.HasMinimum)
        {
            product.Run<QuantizedTileVnni<TLayout, TFormat>>();
        }
        else if (AvxVnni.IsSupported)
        {
            product.Run<QuantizedTile<TLayout, TFormat, AvxVnniDot>>();
        }
        else if (Avx2.IsSupported && TLayout.MaxQuant > 127)
        {
            product.Run<QuantizedTile<TLayout, TFormat, Avx2SignedDot>>();
        }
        else if (Avx2.IsSupported)
        {
            product.Run<QuantizedTile<TLayout, TFormat, Avx2Dot>>();
        }
        else if (Vector128Dot<TLayout>.IsSupported)
        {
            product.Run<QuantizedTile<TLayout, TFormat, Vector128Dot<TLayout>>>();
        }
        else
        {
            product.Run<QuantizedTileScalar<TLayout, TFormat>>();
        }
    }
}
