using System.Runtime.Intrinsics;
using E2LLM.Kernels.Attention;
using E2LLM.Kernels.Lanes;
using E2LLM.Kernels.Quantization;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Kernels;

/// <summary>Attention on keys and values as stored, against the same block decoded first: bit for bit.</summary>
public sealed unsafe class StoredAttentionTests
{
    private const int Positions = AttentionBlock.Positions;

    public static TheoryData<string, KvElementType> AllWidths
    {
        get
        {
            var cases = new TheoryData<string, KvElementType>();
            foreach (string width in KernelData.Widths)
            {
                foreach (KvElementType type in Enum.GetValues<KvElementType>())
                {
                    cases.Add(width, type);
                }
            }

            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(AllWidths))]
    public void Fold_AnyHeads_GivesTheBitsOfTheDecodedBlock(string width, KvElementType type)
    {
        foreach ((int heads, int headDim, int count) in new[] { (1, 32, 1), (2, 128, 64), (3, 64, 63), (4, 96, 33), (5, 64, 32), (8, 64, 90), (6, 160, 40), (7, 32, 17), (10, 128, 64) })
        {
            AssertSame(new Block(type, heads, headDim, count), width, $"{heads} heads of {headDim}, {count} positions");
        }

        foreach ((int heads, int headDim, int count) in new[] { (4, 80, 33), (7, 48, 17), (2, 24, 5), (8, 112, 64) }.Where(_ => type != KvElementType.Q8_0))
        {
            AssertSame(new Block(type, heads, headDim, count), width, $"{heads} heads of {headDim}, {count} positions");
        }
    }

    [Theory]
    [MemberData(nameof(AllWidths))]
    public void Fold_InfinityOrNaN_GivesTheBitsOfTheDecodedBlock(string width, KvElementType type)
    {
        foreach (float special in new[] { float.PositiveInfinity, float.NegativeInfinity, float.NaN })
        {
            foreach (int at in new[] { 0, 1001, (64 * 64) - 1 })
            {
                foreach (int heads in new[] { 2, 4, 8 })
                {
                    var problem = new Block(type, heads, 64, 64);
                    problem.SetValue(at, special);
                    Assert.Contains(AssertSame(problem, width, $"value {special} at {at}"), value => !float.IsFinite(value));
                    problem = new Block(type, heads, 64, 60);
                    problem.SetKey(at, special);
                    bool seen = at % Positions < 60 && float.IsNaN(special);
                    Assert.True(!seen || AssertSame(problem, width, $"key {special} at {at}").Any(value => !float.IsFinite(value)));
                }
            }
        }
    }

    private static float[] AssertSame(Block problem, string width, string what)
    {
        float[] folded = problem.Fold(width), decoded = problem.Decoded(width);
        for (int i = 0; i < folded.Length; i++)
        {
            // A NaN's sign and payload depend on the order of a sum's operands.
            Assert.True((float.IsNaN(folded[i]) && float.IsNaN(decoded[i])) || BitConverter.SingleToInt32Bits(folded[i]) == BitConverter.SingleToInt32Bits(decoded[i]), $"{what}: {folded[i]:R}, {decoded[i]:R}");
        }

        return folded;
    }

    /// <summary>One block with what a few heads had gathered before it.</summary>
    private sealed class Block
    {
        private readonly int _heads, _headDim, _stride, _count;
        private readonly float[] _queries, _outputs;
        private readonly StoredHalf _keys, _values;

        public Block(KvElementType type, int heads, int headDim, int count)
        {
            (Type, _heads, _headDim, _stride, _count) = (type, heads, headDim, (headDim + 15) / 16 * 16, count);
            _queries = KernelData.Normal(heads * headDim, headDim, 0.2f);
            _outputs = KernelData.Normal(heads * _stride, headDim + 1);

            // Ordinary numbers, such as are subnormal as halves, and large ones.
            float[] keys = [.. KernelData.Normal(headDim * Positions, headDim + 2).Select((value, i) => i % 50 == 0 ? value * 1e-6f : value)];
            float[] values = [.. KernelData.Normal(_stride * Positions, headDim + 3).Select((value, i) => i % 40 == 0 ? value * 1e-6f : i % 41 == 0 ? value * 9000f : value)];
            _keys = new StoredHalf(type, keys, i => (i / Positions / 32 * Positions) + (i % Positions));
            _values = new StoredHalf(type, values, i => i / 32);
        }

        private KvElementType Type { get; }

        /// <summary>Makes an element of the keys <c>[headDim][64]</c> infinite or no number; in Q8_0 its scale.</summary>
        public void SetKey(int at, float value) => _keys.Set(at, value);

        /// <summary>Likewise of the values <c>[64][stride]</c>.</summary>
        public void SetValue(int at, float value) => _values.Set(at, value);

        public float[] Fold(string width)
        {
            using var keys = new GuardedArray<byte>(_keys.Bytes);
            using var keyScales = new GuardedArray<ushort>(_keys.Scales);
            using var values = new GuardedArray<byte>(_values.Bytes);
            using var valueScales = new GuardedArray<ushort>(_values.Scales);
            using var scales = new GuardedArray<float>(2 * _keys.Scales.Length);
            var block = new StoredBlock(Type, keys.Pointer, keyScales.Pointer, values.Pointer, valueScales.Pointer, keys.Pointer);
            return Fold(rows => Fold(width, *(AttentionRows*)rows, block, scales.Pointer));
        }

        public float[] Decoded(string width)
        {
            using var keys = new GuardedArray<float>(_keys.Decoded());
            using var values = new GuardedArray<float>(_values.Decoded());
            return Fold(rows => Widths.Fold(width, *(AttentionRows*)rows, keys.Pointer, values.Pointer, _count));
        }

        private void Fold(string width, in AttentionRows rows, in StoredBlock block, float* scales)
        {
            switch (width)
            {
                case "Vector512":
                    StoredAttentionBlock.Fold<Vector512<float>, FloatLanes512>(rows, block, scales, _count);
                    break;
                case "Vector256":
                    StoredAttentionBlock.Fold<Vector256<float>, FloatLanes256>(rows, block, scales, _count);
                    break;
                case "Vector128":
                    StoredAttentionBlock.Fold<Vector128<float>, FloatLanes128>(rows, block, scales, _count);
                    break;
                default:
                    StoredAttentionBlock.Fold<float, FloatLanesScalar>(rows, block, scales, _count);
                    break;
            }
        }

        private float[] Fold(Action<nint> fold)
        {
            using var queries = new GuardedArray<float>(_queries);
            using var scores = new GuardedArray<float>(_heads * Positions);
            using var outputs = new GuardedArray<float>(_outputs);
            using var state = new GuardedArray<float>(2 * _heads);
            state.Span.Fill(0.75f);
            var rows = new AttentionRows(1, _heads, _headDim, _stride, queries.Pointer, scores.Pointer, state.Pointer, state.Pointer + _heads, outputs.Pointer);
            fold((nint)(&rows));
            return [.. state.Span, .. outputs.Span];
        }
    }

    /// <summary>Keys or values as stored, and, element by element, what they mean.</summary>
    private sealed class StoredHalf
    {
        private readonly KvElementType _type;
        private readonly Func<int, int> _scaleOf;

        public StoredHalf(KvElementType type, float[] numbers, Func<int, int> scaleOf)
        {
            (_type, _scaleOf) = (type, scaleOf);
            Bytes = type switch
            {
                KvElementType.F32 => [.. numbers.SelectMany(BitConverter.GetBytes)],
                KvElementType.F16 => [.. numbers.SelectMany(number => BitConverter.GetBytes((Half)number))],
                KvElementType.BF16 => [.. numbers.SelectMany(number => BitConverter.GetBytes((ushort)(BitConverter.SingleToUInt32Bits(number) >> 16)))],
                _ => [.. numbers.Select(number => (byte)(sbyte)Math.Clamp(number * 50, -127, 127))],
            };
            Scales = type == KvElementType.Q8_0 ? [.. numbers.Take(numbers.Length / 32).Select(number => BitConverter.HalfToUInt16Bits((Half)(number * 0.02f)))] : [];
        }

        public byte[] Bytes { get; }

        public ushort[] Scales { get; }

        public void Set(int at, float number)
        {
            switch (_type)
            {
                case KvElementType.F32:
                    BitConverter.TryWriteBytes(Bytes.AsSpan(at * 4), number);
                    break;
                case KvElementType.F16:
                    BitConverter.TryWriteBytes(Bytes.AsSpan(at * 2), (Half)number);
                    break;
                case KvElementType.BF16:
                    BitConverter.TryWriteBytes(Bytes.AsSpan(at * 2), (ushort)(BitConverter.SingleToUInt32Bits(number) >> 16));
                    break;
                default:
                    Scales[_scaleOf(at)] = BitConverter.HalfToUInt16Bits((Half)number);
                    break;
            }
        }

        public float[] Decoded()
        {
            float[] numbers = new float[Bytes.Length / (_type switch { KvElementType.F32 => 4, KvElementType.Q8_0 => 1, _ => 2 })];
            for (int i = 0; i < numbers.Length; i++)
            {
                numbers[i] = _type switch
                {
                    KvElementType.F32 => BitConverter.ToSingle(Bytes, i * 4),
                    KvElementType.F16 => (float)BitConverter.ToHalf(Bytes, i * 2),
                    KvElementType.BF16 => BitConverter.UInt32BitsToSingle((uint)BitConverter.ToUInt16(Bytes, i * 2) << 16),
                    _ => (sbyte)Bytes[i] * (float)BitConverter.UInt16BitsToHalf(Scales[_scaleOf(i)]),
                };
            }

            return numbers;
        }
    }
}
