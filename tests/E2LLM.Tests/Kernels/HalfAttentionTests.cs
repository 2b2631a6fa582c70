using System.Runtime.Intrinsics;
using E2LLM.Kernels.Attention;
using E2LLM.Kernels.Lanes;
using E2LLM.Kernels.Quantization;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Kernels;

/// <summary>Attention on keys and values as stored, against the same block widened first: bit for bit.</summary>
public sealed unsafe class HalfAttentionTests
{
    private const int Positions = AttentionBlock.Positions;

    public static TheoryData<string> AllWidths => [.. KernelData.Widths];

    [Theory]
    [MemberData(nameof(AllWidths))]
    public void Fold_AnyHeads_GivesTheBitsOfTheWidenedBlock(string width)
    {
        foreach ((int heads, int headDim, int count) in new[] { (1, 32, 1), (2, 128, 64), (3, 64, 63), (4, 80, 33), (5, 64, 32), (8, 64, 90), (7, 48, 17), (10, 128, 64), (2, 24, 5) })
        {
            AssertSame(new Block(heads, headDim, count), width, $"{heads} heads of {headDim}, {count} positions");
        }
    }

    [Theory]
    [MemberData(nameof(AllWidths))]
    public void Fold_InfinityOrNaN_GivesTheBitsOfTheWidenedBlock(string width)
    {
        foreach (ushort special in new ushort[] { 0x7C00, 0xFC00, 0x7E00, 0xFFFF })
        {
            foreach (int at in new[] { 0, 1001, (64 * 64) - 1 })
            {
                foreach (int heads in new[] { 2, 4, 8 })
                {
                    var problem = new Block(heads, 64, 64);
                    problem.Values[at] = special;
                    Assert.Contains(AssertSame(problem, width, $"value {special:X4} at {at}"), value => !float.IsFinite(value));
                    problem = new Block(heads, 64, 60);
                    problem.Keys[at] = special;
                    bool seen = at % Positions < 60 && (special & 0x3FF) != 0;
                    Assert.True(!seen || AssertSame(problem, width, $"key {special:X4} at {at}").Any(value => !float.IsFinite(value)));
                }
            }
        }
    }

    private static float[] AssertSame(Block problem, string width, string what)
    {
        float[] folded = problem.Fold(width), widened = problem.Widened(width);
        for (int i = 0; i < folded.Length; i++)
        {
            // A NaN's sign and payload depend on the order of a sum's operands.
            Assert.True((float.IsNaN(folded[i]) && float.IsNaN(widened[i])) || BitConverter.SingleToInt32Bits(folded[i]) == BitConverter.SingleToInt32Bits(widened[i]), $"{what}: {folded[i]:R}, {widened[i]:R}");
        }

        return folded;
    }

    /// <summary>One block with what a few heads had gathered before it.</summary>
    private sealed class Block
    {
        private readonly int _heads, _headDim, _stride, _count;
        private readonly float[] _queries, _outputs;

        public Block(int heads, int headDim, int count)
        {
            (_heads, _headDim, _stride, _count) = (heads, headDim, (headDim + 15) / 16 * 16, count);
            _queries = KernelData.Normal(heads * headDim, headDim, 0.2f);
            _outputs = KernelData.Normal(heads * _stride, headDim + 1);

            // Ordinary, subnormal and large halves.
            Keys = [.. KernelData.Normal(headDim * Positions, headDim + 2).Select((value, i) => BitConverter.HalfToUInt16Bits((Half)(i % 50 == 0 ? value * 1e-6f : value)))];
            Values = [.. KernelData.Normal(_stride * Positions, headDim + 3).Select((value, i) => BitConverter.HalfToUInt16Bits((Half)(i % 40 == 0 ? value * 1e-6f : i % 41 == 0 ? value * 9000f : value)))];
        }

        public ushort[] Keys { get; }

        public ushort[] Values { get; }

        public float[] Fold(string width) => Fold((rows, keys, values) =>
        {
            switch (width)
            {
                case "Vector512":
                    HalfAttentionBlock.Fold<Vector512<float>, FloatLanes512>(*(AttentionRows*)rows, (ushort*)keys, (ushort*)values, _count, (byte*)keys, (byte*)values);
                    break;
                case "Vector256":
                    HalfAttentionBlock.Fold<Vector256<float>, FloatLanes256>(*(AttentionRows*)rows, (ushort*)keys, (ushort*)values, _count, (byte*)keys, (byte*)values);
                    break;
                case "Vector128":
                    HalfAttentionBlock.Fold<Vector128<float>, FloatLanes128>(*(AttentionRows*)rows, (ushort*)keys, (ushort*)values, _count, (byte*)keys, (byte*)values);
                    break;
                default:
                    HalfAttentionBlock.Fold<float, FloatLanesScalar>(*(AttentionRows*)rows, (ushort*)keys, (ushort*)values, _count, (byte*)keys, (byte*)values);
                    break;
            }
        });

        public float[] Widened(string width) => Fold((rows, keys, values) =>
        {
            float[] k = new float[_headDim * Positions], v = new float[_stride * Positions];
            fixed (float* wideKeys = k, wideValues = v)
            {
                ToSingle.Run<float, FloatLanesScalar, HalfElement>((byte*)keys, k.Length, wideKeys);
                ToSingle.Run<float, FloatLanesScalar, HalfElement>((byte*)values, v.Length, wideValues);
                Widths.Fold(width, *(AttentionRows*)rows, wideKeys, wideValues, _count);
            }
        });

        private float[] Fold(Action<nint, nint, nint> fold)
        {
            using var keys = new GuardedArray<ushort>(Keys);
            using var values = new GuardedArray<ushort>(Values);
            using var queries = new GuardedArray<float>(_queries);
            using var scores = new GuardedArray<float>(_heads * Positions);
            using var outputs = new GuardedArray<float>(_outputs);
            using var state = new GuardedArray<float>(2 * _heads);
            state.Span.Fill(0.75f);
            var rows = new AttentionRows(1, _heads, _headDim, _stride, queries.Pointer, scores.Pointer, state.Pointer, state.Pointer + _heads, outputs.Pointer);
            fold((nint)(&rows), (nint)keys.Pointer, (nint)values.Pointer);
            return [.. state.Span, .. outputs.Span];
        }
    }
}
