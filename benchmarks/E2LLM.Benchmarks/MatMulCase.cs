using E2LLM.Kernels.MatMul;

namespace E2LLM.Benchmarks;

/// <summary>A product of a 2048 x 2048 matrix of one type on one thread: with many tokens, or with few over so many equal matrices that no cache near the core holds them. Owns its memory.</summary>
internal sealed unsafe class MatMulCase : IDisposable
{
    public const int Size = 2048;
    public const int ManyTokens = 256;
    private const long StreamBytes = 192L << 20;

    private readonly TensorType type;
    private readonly int copies;
    private readonly ProductData data;

    /// <param name="type">Of the weights.</param>
    /// <param name="streams">Whether <see cref="Stream"/> is wanted; else there is one matrix only.</param>
    public MatMulCase(TensorType type, bool streams = true)
    {
        this.type = type;
        copies = streams ? CopyCount(type) : 1;
        data = new ProductData(type, Size, Size, ManyTokens, copies);
    }

    /// <summary>Operations of one product: a multiplication and an addition for each weight and token.</summary>
    public static double Operations(int tokens) => 2.0 * Size * Size * tokens;

    /// <summary>Bytes of one packed matrix.</summary>
    public static long MatrixBytes(TensorType type) => PackedMatrix.MatrixBytes(type, Size, Size);

    /// <summary>Matrices that <see cref="Stream"/> goes through.</summary>
    public static int CopyCount(TensorType type) => (int)(StreamBytes / MatrixBytes(type));

    public void MultiplyMany() => PackedMatrix.Multiply(type, data.Weights, Size, Size, 0, Size, data.X, ManyTokens, data.Y, Size);

    /// <summary>Multiplies every copy with the same few tokens.</summary>
    public void Stream(int tokens)
    {
        for (int copy = 0; copy < copies; copy++)
        {
            PackedMatrix.Multiply(type, data.Weights + (copy * data.Bytes), Size, Size, 0, Size, data.X, tokens, data.Y, Size);
        }
    }

    public void Dispose() => data.Dispose();
}
