using System.Runtime.InteropServices;
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
    public void TryFold_AnyHeads_GivesTheBitsOfTheWidenedBlock(string width)
    {
        foreach ((int heads, int headDim, int count) in new[] { (1, 32, 1), (2, 128, 64), (3, 64, 63), (4, 96, 33), (5, 64, 32), (8, 64, 90), (7, 128, 17) })
        {
            var problem = new Block(heads, headDim, count);
            Assert.True(problem.TryFold(width, out float[] folded));
            Assert.True(MemoryMarshal.AsBytes(problem.Widened(width).AsSpan()).SequenceEqual(MemoryMarshal.AsBytes(folded.AsSpan())), $"{heads} heads of {headDim}, {count} positions");
        }
    }

    [Theory]
    [MemberData(nameof(AllWidths))]
    public void TryFold_InfinityOrNaN_IsLeftToTheWidenedBlock(string width)
    {
        foreach (ushort special in new ushort[] { 0x7C00, 0xFC00, 0x7E00, 0xFFFF })
        {
            foreach (int at in new[] { 0, 1000, (64 * 64) - 1 })
            {
                var problem = new Block(2, 64, 64);
                problem.Keys[at] = special;
                Assert.False(problem.TryFold(width, out _));
                problem = new Block(2, 64, 64);
                problem.Values[at] = special;
                Assert.False(problem.TryFold(width, out _));
            }
        }
    }

    [Fact]
    public void TryFold_HeadOfNoWholeVectors_IsLeftToTheWidenedBlock()
    {
        Assert.False(new Block(2, 80, 64).TryFold("Vector512", out _));
        Assert.True(new Block(2, 80, 64).TryFold("Vector256", out _));
    }

    [Fact]
    public void AreFinite_LargestHalves_AreFinite()
    {
        foreach (ushort half in new ushort[] { 0x7BFF, 0xFBFF, 0, 0x8000, 1 })
        {
            ushort[] halves = new ushort[131];
            halves.AsSpan().Fill(half);
            fixed (ushort* p = halves)
            {
                Assert.True(HalfAttentionBlock.AreFinite(p, halves.Length));
                halves[130] = 0x7C00;
                Assert.False(HalfAttentionBlock.AreFinite(p, halves.Length));
            }
        }
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

        public bool TryFold(string width, out float[] state)
        {
            bool done = false;
            state = Fold((rows, keys, values) =>
            {
                done = width switch
                {
                    "Vector512" => HalfAttentionBlock.TryFold<Vector512<float>, FloatLanes512>((*(AttentionRows*)rows), (ushort*)keys, (ushort*)values, _count, null),
                    "Vector256" => HalfAttentionBlock.TryFold<Vector256<float>, FloatLanes256>((*(AttentionRows*)rows), (ushort*)keys, (ushort*)values, _count, null),
                    "Vector128" => HalfAttentionBlock.TryFold<Vector128<float>, FloatLanes128>((*(AttentionRows*)rows), (ushort*)keys, (ushort*)values, _count, null),
                    _ => HalfAttentionBlock.TryFold<float, FloatLanesScalar>((*(AttentionRows*)rows), (ushort*)keys, (ushort*)values, _count, null),
                };
            });
            return done;
        }

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
