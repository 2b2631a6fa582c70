using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;
using E2LLM.Kernels.MatMul;
using E2LLM.Tests.Oracles;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Kernels;

public sealed unsafe class MatMulFloatTests
{
    public static TheoryData<string, TensorType> Paths
    {
        get
        {
            var data = new TheoryData<string, TensorType>();
            foreach (string width in KernelData.Widths)
            {
                data.Add(width, TensorType.F32);
                data.Add(width, TensorType.F16);
                data.Add(width, TensorType.BF16);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Paths))]
    public void Multiply_AllLengths_EqualsDoublePrecision(string width, TensorType type)
    {
        for (int columns = 0; columns <= 257; columns++)
        {
            Check(width, type, rows: (columns * 7 % 37) + 1, columns, tokens: (columns % 11) + 1);
        }
    }

    [Theory]
    [MemberData(nameof(Paths))]
    public void Multiply_RealWidths_EqualsDoublePrecision(string width, TensorType type)
    {
        Check(width, type, 35, 2048, 5);
        Check(width, type, 64, 5632, 1);
        Check(width, type, 16, 14336, 2);
    }

    [Theory]
    [MemberData(nameof(Paths))]
    public void Multiply_CutAnyWay_GivesSameBits(string width, TensorType type)
    {
        const int Rows = 77, Columns = 129, Tokens = 11;
        byte[] packed = KernelData.Pack(type, KernelData.Encode(type, KernelData.Normal(Rows * Columns, 1)), Rows, Columns);
        float[] x = KernelData.Normal(Tokens * Columns, 2);
        float[] whole = new float[Tokens * Rows], cut = new float[Tokens * Rows];
        fixed (byte* w = packed)
        fixed (float* a = x, y = whole, z = cut)
        {
            Run(width, type, new MatMulFloat.Call(w, Rows, Columns, 0, 5, a, Tokens, y, Rows));
            foreach (int tokens in new[] { 1, 2, 3, 5, 6, 7, 8 })
            {
                cut.AsSpan().Clear();
                for (int token = 0; token < Tokens; token += tokens)
                {
                    int count = Math.Min(tokens, Tokens - token);
                    foreach ((int first, int end) in new[] { (0, 1), (1, 4), (4, 5) })
                    {
                        Run(width, type, new MatMulFloat.Call(w, Rows, Columns, first, end, a + (token * Columns), count, z + (token * Rows), Rows));
                    }
                }

                Assert.True(MemoryMarshal.AsBytes(whole.AsSpan()).SequenceEqual(MemoryMarshal.AsBytes(cut.AsSpan())), $"{tokens} tokens at a time");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Paths))]
    public void Multiply_NanAndInfinity_ReachTheirOutputsOnly(string width, TensorType type)
    {
        const int Rows = 20, Columns = 33, Tokens = 5;
        float[] values = KernelData.Normal(Rows * Columns, 3);
        values[(3 * Columns) + 7] = float.NaN;
        values[(17 * Columns) + 32] = float.PositiveInfinity;
        float[] x = KernelData.Normal(Tokens * Columns, 4), y = new float[Tokens * Rows];
        for (int t = 0; t < Tokens; t++)
        {
            x[(t * Columns) + 32] = 1f;
        }

        x[(2 * Columns) + 5] = float.NaN;
        fixed (byte* w = KernelData.Pack(type, KernelData.Encode(type, values), Rows, Columns))
        fixed (float* a = x, b = y)
        {
            Run(width, type, new MatMulFloat.Call(w, Rows, Columns, 0, 2, a, Tokens, b, Rows));
        }

        for (int i = 0; i < y.Length; i++)
        {
            (int token, int row) = (i / Rows, i % Rows);
            bool nan = token == 2 || row == 3;
            Assert.True(nan ? float.IsNaN(y[i]) : row == 17 ? float.IsPositiveInfinity(y[i]) : float.IsFinite(y[i]), $"token {token}, row {row}: {y[i]}");
        }
    }

    [Theory]
    [InlineData("Vector512")]
    [InlineData("Vector256")]
    [InlineData("Vector128")]
    [InlineData("Scalar")]
    public void LoadHalf_EveryHalf_IsExact(string width)
    {
        ushort[] halves = [.. Enumerable.Range(0, 65536).Select(bits => (ushort)bits)];
        float[] floats = new float[65536];
        fixed (ushort* source = halves)
        fixed (float* target = floats)
        {
            switch (width)
            {
                case "Vector512":
                    E2LLM.Kernels.Quantization.ToSingle.Run<Vector512<float>, FloatLanes512, HalfElement>((byte*)source, 65536, target);
                    break;
                case "Vector256":
                    E2LLM.Kernels.Quantization.ToSingle.Run<Vector256<float>, FloatLanes256, HalfElement>((byte*)source, 65536, target);
                    break;
                case "Vector128":
                    E2LLM.Kernels.Quantization.ToSingle.Run<Vector128<float>, FloatLanes128, HalfElement>((byte*)source, 65536, target);
                    break;
                default:
                    E2LLM.Kernels.Quantization.ToSingle.Run<float, FloatLanesScalar, HalfElement>((byte*)source, 65536, target);
                    break;
            }
        }

        for (int bits = 0; bits < 65536; bits++)
        {
            float expected = (float)BitConverter.UInt16BitsToHalf((ushort)bits);
            Assert.True(float.IsNaN(expected) ? float.IsNaN(floats[bits]) : BitConverter.SingleToInt32Bits(expected) == BitConverter.SingleToInt32Bits(floats[bits]), $"{bits:X4}");
        }
    }

    private static void Check(string width, TensorType type, int rows, int columns, int tokens)
    {
        byte[] stored = KernelData.Encode(type, KernelData.Normal(rows * columns, columns + 1));
        float[] meant = new float[rows * columns], x = KernelData.Normal(tokens * columns, columns + 2);
        fixed (byte* source = stored)
        fixed (float* target = meant)
        {
            E2LLM.Kernels.Quantization.DequantizeRow.Run(type, source, rows * columns, target);
        }

        using var w = new GuardedArray<byte>(KernelData.Pack(type, stored, rows, columns));
        using var a = new GuardedArray<float>(x);
        using var y = new GuardedArray<float>(tokens * rows);
        Run(width, type, new MatMulFloat.Call(w.Pointer, rows, columns, 0, (rows + 15) / 16, a.Pointer, tokens, y.Pointer, rows));
        Accuracy.AssertClose(KernelData.Multiply(meant, x, rows, columns, tokens), y.Span, Accuracy.Float, $"{rows} x {columns}, {tokens} tokens");
    }

    internal static void Run(string width, TensorType type, MatMulFloat.Call call)
    {
        switch (width)
        {
            case "Vector512":
                MatMulFloat.Multiply<Vector512<float>, FloatLanes512>(type, call);
                break;
            case "Vector256":
                MatMulFloat.Multiply<Vector256<float>, FloatLanes256>(type, call);
                break;
            case "Vector128":
                MatMulFloat.Multiply<Vector128<float>, FloatLanes128>(type, call);
                break;
            default:
                MatMulFloat.Multiply<float, FloatLanesScalar>(type, call);
                break;
        }
    }
}
