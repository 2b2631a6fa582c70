using System.Buffers.Binary;
using System.Runtime.InteropServices;
using E2LLM.Transfer;
using E2LLM.Transfer.Codecs;

namespace E2LLM.Tests.Kernels.Coding;

/// <summary>int8 and int4 slices, judged in double precision by a reader written from WIRE_FORMAT.md alone. Here, so that every instruction set runs them.</summary>
public sealed class QuantizedCodingTests
{
    private static readonly KvElementType[] Types = [KvElementType.F32, KvElementType.F16, KvElementType.BF16];

    [Theory]
    [InlineData(true), InlineData(false)]
    public void Encode_AnyShape_StaysWithinHalfAStepAndIsReadByThePlainReader(bool int8)
    {
        QuantizedKvCodec codec = int8 ? QuantizedKvCodec.Int8 : QuantizedKvCodec.Int4;
        var random = new Random(1);
        foreach ((int tokens, int heads, int headDim) in new[] { (1, 1, 1), (3, 2, 4), (63, 4, 8), (64, 1, 32), (65, 2, 48), (130, 3, 64), (7, 2, 130), (64, 5, 33), (1, 9, 7) })
        {
            foreach (KvElementType type in Types)
            {
                foreach (KvPart part in new[] { KvPart.Keys, KvPart.Values })
                {
                    var shape = new KvBlockShape(type, part, 0, tokens, heads, headDim);
                    float[] x = Numbers(random, shape);
                    byte[] raw = ToBytes(type, x), coded = new byte[codec.MaxCodedBytes(shape)], back = new byte[raw.Length];
                    Assert.Equal(coded.Length, codec.Encode(shape, raw, coded));
                    Assert.True(codec.TryDecode(shape, coded, back));
                    (double[] expected, double[] steps) = Read(coded, shape, int8);
                    float[] original = FromBytes(type, raw), found = FromBytes(type, back);
                    for (int i = 0; i < x.Length; i++)
                    {
                        double ulp = type switch { KvElementType.F32 => 1e-6, KvElementType.F16 => 1e-3, _ => 8e-3 };
                        Assert.InRange(found[i], expected[i] - (Math.Abs(expected[i]) * ulp) - 1e-7, expected[i] + (Math.Abs(expected[i]) * ulp) + 1e-7);
                        Assert.InRange(expected[i] - original[i], (-0.5001 * steps[i]) - 1e-12, (0.5001 * steps[i]) + 1e-12);
                    }
                }
            }
        }
    }

    [Fact]
    public void Encode_NotFiniteOrTooLargeToRestore_OffersNothing()
    {
        foreach (QuantizedKvCodec codec in new[] { QuantizedKvCodec.Int8, QuantizedKvCodec.Int4 })
        {
            foreach ((KvElementType type, float value) in new[] { (KvElementType.F16, float.NaN), (KvElementType.F32, float.PositiveInfinity), (KvElementType.F16, 65_504f), (KvElementType.F32, float.MinValue) })
            {
                var shape = new KvBlockShape(type, KvPart.Keys, 0, 2, 1, 32);
                float[] x = new float[64];
                x[40] = value;
                Assert.Equal(-1, codec.Encode(shape, ToBytes(type, x), new byte[codec.MaxCodedBytes(shape)]));
            }

            var quantized = new KvBlockShape(KvElementType.Q8_0, KvPart.Keys, 0, 2, 1, 32);
            Assert.Equal(-1, codec.Encode(quantized, new byte[quantized.RawBytes], new byte[codec.MaxCodedBytes(quantized)]));
        }
    }

    [Fact]
    public void Decode_ScalesThatNobodyWrites_AreRefused()
    {
        var shape = new KvBlockShape(KvElementType.F16, KvPart.Values, 0, 1, 1, 64);
        foreach (QuantizedKvCodec codec in new[] { QuantizedKvCodec.Int8, QuantizedKvCodec.Int4 })
        {
            byte[] coded = new byte[codec.MaxCodedBytes(shape)], raw = new byte[shape.RawBytes];
            Assert.True(codec.TryDecode(shape, coded, raw));
            Assert.False(codec.TryDecode(shape, coded.AsSpan(1), raw));
            foreach (ushort scale in new ushort[] { 0x7FC0, 0x7F80, 0xFF80, 0xBF80 })
            {
                BinaryPrimitives.WriteUInt16LittleEndian(coded, scale);
                Assert.False(codec.TryDecode(shape, coded, raw));
            }
        }
    }

    /// <summary>Channels of very different size, with offsets, some zero.</summary>
    private static float[] Numbers(Random random, KvBlockShape shape)
    {
        int channels = shape.KvHeadCount * shape.HeadDim;
        float[] size = [.. Enumerable.Range(0, channels).Select(c => c % 7 == 3 ? 0 : MathF.Pow(10, (random.NextSingle() * 4) - 2))];
        float[] offset = [.. size.Select(s => s * ((random.NextSingle() * 4) - 2))];
        return [.. Enumerable.Range(0, shape.TokenCount * channels).Select(i => offset[i % channels] + (size[i % channels] * ((random.NextSingle() * 2) - 1)))];
    }

    private static byte[] ToBytes(KvElementType type, float[] x) => type switch
    {
        KvElementType.F32 => MemoryMarshal.AsBytes<float>(x).ToArray(),
        KvElementType.F16 => MemoryMarshal.AsBytes<Half>(x.Select(value => (Half)value).ToArray()).ToArray(),
        _ => MemoryMarshal.AsBytes<ushort>(x.Select(value => (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16)).ToArray()).ToArray(),
    };

    private static float[] FromBytes(KvElementType type, byte[] raw) => type switch
    {
        KvElementType.F32 => MemoryMarshal.Cast<byte, float>(raw).ToArray(),
        KvElementType.F16 => [.. MemoryMarshal.Cast<byte, Half>(raw).ToArray().Select(value => (float)value)],
        _ => [.. MemoryMarshal.Cast<byte, ushort>(raw).ToArray().Select(value => BitConverter.UInt32BitsToSingle((uint)value << 16))],
    };

    /// <summary>The restored numbers and the step of each, as the format's description says.</summary>
    private static (double[] Numbers, double[] Steps) Read(byte[] coded, KvBlockShape shape, bool int8)
    {
        int channels = shape.KvHeadCount * shape.HeadDim, groupWidth = (64 + shape.HeadDim - 1) / shape.HeadDim * shape.HeadDim, at = 0;
        double[] numbers = new double[shape.TokenCount * channels], steps = new double[numbers.Length];
        double[] scale = new double[channels], offset = new double[channels];
        for (int token = 0; token < shape.TokenCount; token++)
        {
            if (shape.Part == KvPart.Values || token % 64 == 0)
            {
                int width = shape.Part == KvPart.Keys ? 1 : groupWidth;
                for (int first = 0; first < channels; first += width)
                {
                    double s = Next(), o = int8 ? 0 : Next();
                    for (int c = first; c < Math.Min(first + width, channels); c++)
                    {
                        (scale[c], offset[c]) = (s, o);
                    }
                }
            }

            int half = (channels + 1) / 2;
            for (int c = 0; c < channels; c++)
            {
                double q = int8 ? (sbyte)coded[at + c] : c < half ? coded[at + c] & 15 : coded[at + c - half] >> 4;
                numbers[(token * channels) + c] = (q * scale[c]) + offset[c];
                steps[(token * channels) + c] = scale[c];
            }

            at += int8 ? channels : half;
        }

        Assert.Equal(coded.Length, at);
        return (numbers, steps);

        double Next()
        {
            ushort bits = BinaryPrimitives.ReadUInt16LittleEndian(coded.AsSpan(at));
            at += 2;
            return BitConverter.UInt32BitsToSingle((uint)bits << 16);
        }
    }
}
