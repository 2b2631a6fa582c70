using System.Buffers.Binary;
using E2LLM.Kernels.Coding;

namespace E2LLM.Tests.Kernels.Coding;

/// <summary>The 4-bit exponent code, judged by a reader written from WIRE_FORMAT.md alone.</summary>
public sealed class ExponentCodeTests
{
    private static readonly int[] Lengths = [.. Enumerable.Range(1, 200), 255, 256, 257, 1023, 4095, 4096];

    [Fact]
    public void Encode_AnyBits_AreReadBackByThePlainReaderAndByDecode()
    {
        var random = new Random(1);
        foreach (int n in Lengths)
        {
            foreach (int window in new[] { 1, 100, 120, 240 })
            {
                ushort[] x = Elements(random, n, window, escapeChance: n < 100 ? 0 : 0.03);
                byte[] coded = Encode(x);
                Assert.InRange(coded.Length, 4 + ((n + 1) / 2) + n, ExponentCode.MaxBytes(n));
                Assert.Equal(x, Read(coded, n));
                Assert.Equal(coded.Length, Decode([.. coded, 1, 2, 3], n, out ushort[] back));
                Assert.Equal(x, back);
            }
        }
    }

    [Fact]
    public void Encode_ExponentsWithoutEnd_IsRefused()
    {
        ushort[] every = [.. Enumerable.Range(0, 4096).Select(i => (ushort)(i * 16))];
        Assert.Empty(Encode(every));
    }

    [Fact]
    public void Encode_ZerosSubnormalsInfinitiesAndNaN_KeepTheirBits()
    {
        ushort[] x = [.. Enumerable.Repeat((ushort)0x3F81, 400)];
        ushort[] odd = [0, 0x8000, 1, 0x807F, 0x7F80, 0xFF80, 0x7FC0, 0x7F81, 0xFFFF, 0x7F7F, 0x0080];
        for (int i = 0; i < odd.Length; i++)
        {
            x[(i * 31) + 5] = odd[i];
        }

        Decode(Encode(x), x.Length, out ushort[] back);
        Assert.Equal(x, back);
    }

    [Fact]
    public void Decode_TruncatedOrBent_IsRefusedOrStaysInBounds()
    {
        var random = new Random(2);
        ushort[] x = Elements(random, 200, 110, 0.03);
        byte[] coded = Encode(x);
        for (int length = 0; length < coded.Length; length++)
        {
            Assert.Equal(-1, Decode(coded[..length], x.Length, out _));
        }

        Assert.Equal(-1, Decode(With(0, 0), x.Length, out _));
        Assert.Equal(-1, Decode(With(0, 241), x.Length, out _));
        Assert.Equal(-1, Decode(With(1, 1), x.Length, out _));
        Assert.Equal(-1, Decode(With(3, 1), x.Length, out _));
        int first = 4 + 100 + 200;
        Assert.Equal(-1, Decode(With(first, 200), x.Length, out _));
        Assert.Equal(-1, Decode(With(first + 3, coded[first]), x.Length, out _));

        byte[] With(int at, int value)
        {
            byte[] bent = coded.ToArray();
            bent[at] = (byte)value;
            return bent;
        }
    }

    private static ushort[] Elements(Random random, int n, int window, double escapeChance) => [.. Enumerable.Range(0, n).Select(_ =>
        random.NextDouble() < escapeChance
            ? (ushort)random.Next(65_536)
            : (ushort)((random.Next(2) << 15) | ((random.Next(20) == 0 ? 0 : window + random.Next(15)) << 7) | random.Next(128)))];

    private static unsafe byte[] Encode(ushort[] x)
    {
        byte[] coded = new byte[ExponentCode.MaxBytes(x.Length)];
        fixed (ushort* from = x)
        {
            fixed (byte* to = coded)
            {
                return coded[..Math.Max(0, ExponentCode.Encode(from, x.Length, to))];
            }
        }
    }

    private static unsafe int Decode(byte[] coded, int n, out ushort[] x)
    {
        x = new ushort[n];
        fixed (ushort* to = x)
        {
            fixed (byte* from = coded)
            {
                return ExponentCode.Decode(from, coded.Length, to, n);
            }
        }
    }

    private static ushort[] Read(byte[] coded, int n)
    {
        int half = (n + 1) / 2;
        ushort[] x = new ushort[n];
        for (int i = 0; i < n; i++)
        {
            int code = i < half ? coded[4 + i] & 15 : coded[4 + i - half] >> 4, rest = coded[4 + half + i];
            x[i] = (ushort)(((rest >> 7) << 15) | ((code == 0 ? 0 : coded[0] + code - 1) << 7) | (rest & 127));
        }

        for (int at = 4 + half + n; at < coded.Length; at += 3)
        {
            ref ushort value = ref x[BinaryPrimitives.ReadUInt16LittleEndian(coded.AsSpan(at))];
            value = (ushort)((value & 0x807F) | (coded[at + 2] << 7));
        }

        return x;
    }
}
