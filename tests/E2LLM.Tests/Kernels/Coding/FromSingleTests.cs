using System.Runtime.InteropServices;
using E2LLM.Kernels.Attention;
using E2LLM.Kernels.Coding;

namespace E2LLM.Tests.Kernels.Coding;

public sealed class FromSingleTests
{
    [Fact]
    public void ToHalf_EveryHalfItsNeighboursAndRandomFloats_IsThePlatformsConversion()
    {
        var floats = new List<float>();
        for (int bits = 0; bits < 65_536; bits++)
        {
            float value = (float)BitConverter.UInt16BitsToHalf((ushort)bits), next = (float)BitConverter.UInt16BitsToHalf((ushort)(bits + 1));
            floats.AddRange([value, (value + next) / 2, MathF.BitIncrement((value + next) / 2), MathF.BitDecrement((value + next) / 2)]);
        }

        Judge(KvElementType.F16, [.. floats, .. Random()], value => BitConverter.HalfToUInt16Bits((Half)value), 0x7C00);
    }

    [Fact]
    public void ToBFloat16_RandomFloatsAndTies_IsThePlainConversion()
    {
        uint[] ties = [.. Enumerable.Range(0, 65_536).SelectMany(i => new uint[] { (uint)i << 16, ((uint)i << 16) | 0x8000, ((uint)i << 16) | 0x7FFF, ((uint)i << 16) | 0x8001 })];
        Judge(KvElementType.BF16, [.. ties.Select(BitConverter.UInt32BitsToSingle), .. Random()], EncodeKv.ToBFloat16, 0x7F80);
    }

    private static IEnumerable<float> Random()
    {
        var random = new Random(3);
        return Enumerable.Range(0, 200_000).Select(_ => BitConverter.UInt32BitsToSingle((uint)random.NextInt64(1L << 32)));
    }

    private static unsafe void Judge(KvElementType type, float[] x, Func<float, ushort> oracle, int infinity)
    {
        foreach (int skip in new[] { 0, x.Length - 13 })
        {
            float[] part = x[skip..];
            byte[] y = new byte[part.Length * 2];
            fixed (float* from = part)
            {
                fixed (byte* to = y)
                {
                    FromSingle.Run(type, from, part.Length, to);
                }
            }

            ReadOnlySpan<ushort> found = MemoryMarshal.Cast<byte, ushort>(y);
            for (int i = 0; i < part.Length; i++)
            {
                if (float.IsNaN(part[i]) ? (found[i] & 0x7FFF) <= infinity : found[i] != oracle(part[i]))
                {
                    Assert.Fail($"{part[i]:R}: 0x{found[i]:X4}, expected 0x{oracle(part[i]):X4}");
                }
            }
        }
    }
}
