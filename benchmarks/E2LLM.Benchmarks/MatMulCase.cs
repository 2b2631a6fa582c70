using E2LLM.Kernels.MatMul;

namespace E2LLM.Benchmarks;

/// <summary>A product of a 2048 x 2048 matrix of one type on one thread: with many tokens, or with few over so many equal matrices that no cache near the core holds them. Owns its memory.</summary>
internal sealed unsafe class MatMulCase : IDisposable
{
    public const int Size = 2048;
    public const int ManyTokens = 256;
    private const long StreamBytes = 192L << 20;

    private readonly TensorType _type;
    private readonly int _copies;
    private readonly ProductData _data;

    /// <param name="type">Of the weights.</param>
    /// <param name="streams">Whether <see cref="Stream"/> is wanted; else there is one matrix only.</param>
    public MatMulCase(TensorType type, bool streams = true)
    {
        _type = type;
        _copies = streams ? CopyCount(type) : 1;
        _data = new ProductData(type, Size, Size, ManyTokens, _copies);
    }

    /// <summary>Operations of one product: a multiplication and an addition for each weight and token.</summary>
    public static double Operations(int tokens) => 2.0 * Size * Size * tokens;

    /// <summary>Bytes of one packed matrix.</summary>
    public static long MatrixBytes(TensorType type) => PackedMatrix.MatrixBytes(type, Size, Size);

    /// <summary>Matrices that <see cref="Stream"/> goes through.</summary>
    public static int CopyCount(TensorType type) => (int)(StreamBytes / MatrixBytes(type));

    public void MultiplyMany() => PackedMatrix.Multiply(_type, _data.Weights, Size, Size, 0, Size, _data.X, ManyTokens, _data.Y, Size);

    /// <summary>Multiplies every copy with the same few tokens.</summary>
    public void Stream(int tokens)
    {
        for (int copy = 0; copy < _copies; copy++)
        {
            PackedMatrix.Multiply(_type, _data.Weights + (copy * _data.Bytes), Size, Size, 0, Size, _data.X, tokens, _data.Y, Size);
        }
    }

    public void Dispose() => _data.Dispose();
}
