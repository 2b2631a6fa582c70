using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.Coding;

/// <summary><c>least[c] = min over r of x[r][c]</c> and <c>most[c] = max over r of x[r][c]</c>.</summary>
/// <remarks>Shapes: x <c>[rows][columns]</c> without gaps, at least one row; outputs <c>[columns]</c>; no overlap. Numerics: exact; for finite numbers only.</remarks>
internal static unsafe class ColumnExtremes
{
    internal static void Run(float* x, int rows, int columns, float* least, float* most)
    {
        int c = 0;
        for (; c <= columns - Vector256<float>.Count; c += Vector256<float>.Count)
        {
            float* at = x + c;
            Vector256<float> low = Vector256.Load(at), high = low;
            for (int r = 1; r < rows; r++)
            {
                at += columns;
                Vector256<float> value = Vector256.Load(at);
                low = Vector256.MinNative(low, value);
                high = Vector256.MaxNative(high, value);
            }

            low.Store(least + c);
            high.Store(most + c);
        }

        for (; c < columns; c++)
        {
            (least[c], most[c]) = (x[c], x[c]);
            for (int r = 1; r < rows; r++)
            {
                float value = x[((nint)r * columns) + c];
                least[c] = Math.Min(least[c], value);
                most[c] = Math.Max(most[c], value);
            }
        }
    }
}
