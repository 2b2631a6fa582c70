using System.Runtime.InteropServices;
using E2LLM.Tests.Support;
using E2LLM.Transfer.Codecs;

namespace E2LLM.Tests.Transfer.Codecs;

public sealed class Lz4BlockTests
{
    [Fact]
    public void Decompress_OwnBlocks_GiveTheSource()
    {
        foreach (byte[] source in Sources(2000))
        {
            byte[] block = Compress(source), result = new byte[source.Length];
            Assert.True(Lz4Block.TryDecompress(block, result));
            Assert.Equal(source, result);
        }
    }

    [Fact]
    public void Compress_OwnBlocks_AreReadByTheReferenceLibraryAndBack()
    {
        if (!NativeLibrary.TryLoad("liblz4.so.1", out nint library))
        {
            Console.WriteLine("skipped: no liblz4.so.1");
            return;
        }

        var compress = Marshal.GetDelegateForFunctionPointer<LibraryCall>(NativeLibrary.GetExport(library, "LZ4_compress_default"));
        var decompress = Marshal.GetDelegateForFunctionPointer<LibraryCall>(NativeLibrary.GetExport(library, "LZ4_decompress_safe"));
        foreach (byte[] source in Sources(2000))
        {
            byte[] block = Compress(source), result = new byte[Math.Max(source.Length, 1)];
            Assert.Equal(source.Length, decompress(block, result, block.Length, source.Length));
            Assert.Equal(source, result[..source.Length]);
            byte[] theirs = new byte[Lz4Block.MaxCompressedBytes(source.Length)], back = new byte[source.Length];
            int bytes = compress(source.Length == 0 ? new byte[1] : source, theirs, source.Length, theirs.Length);
            Assert.True(Lz4Block.TryDecompress(theirs.AsSpan(0, bytes), back));
            Assert.Equal(source, back);
        }
    }

    [Fact]
    public void Decompress_DamagedBlocks_AreTakenOnlyWhereTheReferenceLibraryTakesThem()
    {
        bool haveLibrary = NativeLibrary.TryLoad("liblz4.so.1", out nint library);
        LibraryCall? decompress = haveLibrary ? Marshal.GetDelegateForFunctionPointer<LibraryCall>(NativeLibrary.GetExport(library, "LZ4_decompress_safe")) : null;
        var random = new Random(4);
        int taken = 0;
        foreach (byte[] source in Sources(3000).Where(source => source.Length > 0))
        {
            byte[] block = Compress(source);
            block[random.Next(block.Length)] ^= (byte)random.Next(1, 256);
            if (random.Next(3) == 0)
            {
                block = block[..random.Next(block.Length)];
            }

            byte[] ours = new byte[source.Length], theirs = new byte[source.Length];
            if (Lz4Block.TryDecompress(block, ours))
            {
                taken++;
                if (decompress is not null)
                {
                    Assert.Equal(source.Length, decompress(block, theirs, block.Length, theirs.Length));
                    Assert.Equal(theirs, ours);
                }
            }
        }

        Assert.True(taken > 0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Decompress_BetweenGuardPages_TouchesNothingOutside(bool guardBefore)
    {
        var random = new Random(6);
        foreach (byte[] source in Sources(900))
        {
            byte[] block = Compress(source);
            using var result = new GuardedArray<byte>(source.Length, guardBefore);
            using (var whole = new GuardedArray<byte>(block, guardBefore))
            {
                Assert.True(Lz4Block.TryDecompress(whole.Span, result.Span));
                Assert.Equal(source, result.Span);
            }

            for (int i = 0; i < 3; i++)
            {
                byte[] damaged = block[..random.Next(1, block.Length + 1)];
                damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
                using var guarded = new GuardedArray<byte>(damaged, guardBefore);
                using var other = new GuardedArray<byte>(source.Length + random.Next(3), guardBefore);
                Lz4Block.TryDecompress(guarded.Span, other.Span);
            }
        }
    }

    [Fact]
    public void Decompress_EveryOffsetAndLength_RepeatsWhatLiesThere()
    {
        var random = new Random(7);
        for (int offset = 1; offset <= 70; offset++)
        {
            for (int length = 4; length <= 120; length++)
            {
                // Literals, one match, and enough literals behind it for the quick way; then as few as the format allows.
                byte[] first = new byte[offset + random.Next(3)];
                random.NextBytes(first);
                foreach (int rest in new[] { 100, 12 })
                {
                    byte[] last = new byte[rest];
                    random.NextBytes(last);
                    List<byte> expected = [.. first], block = [(byte)((Math.Min(first.Length, 15) << 4) | Math.Min(length - 4, 15)), .. Extension(first.Length), .. first, (byte)offset, 0, .. Extension(length - 4)];
                    for (int i = 0; i < length; i++)
                    {
                        expected.Add(expected[^offset]);
                    }

                    expected.AddRange(last);
                    block.AddRange([(byte)(Math.Min(rest, 15) << 4), .. Extension(rest), .. last]);
                    byte[] result = new byte[expected.Count];
                    Assert.True(Lz4Block.TryDecompress(block.ToArray(), result), $"offset {offset}, length {length}");
                    Assert.Equal(expected, result);
                }
            }
        }

        static byte[] Extension(int length) => length < 15 ? [] : [.. Enumerable.Repeat((byte)255, (length - 15) / 255), (byte)((length - 15) % 255)];
    }

    [Theory]
    [InlineData("", "empty block")]
    [InlineData("10", "literal past the end")]
    [InlineData("F0", "length past the end")]
    [InlineData("F0FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", "endless length")]
    [InlineData("1041000040414141414100", "offset zero")]
    [InlineData("104102004041414141", "offset before the start")]
    [InlineData("1041010F", "match length past the end")]
    [InlineData("104101", "half an offset")]
    [InlineData("1F410100FFFFFFFFFFFFFFFFFF", "endless match")]
    [InlineData("1B41010050414141414100", "trailing byte")]
    public void Decompress_MalformedBlock_IsRefused(string block, string why)
    {
        foreach (int size in new[] { 0, 1, 16, 21, 300 })
        {
            Assert.False(Lz4Block.TryDecompress(Convert.FromHexString(block), new byte[size]), why);
        }
    }

    [Fact]
    public void Decompress_LongBlockIntoNothing_IsRefused()
    {
        // An empty span has no address to count back from.
        byte[] block = Compress(Sources(400).Last());
        Assert.InRange(block.Length, 64, int.MaxValue);
        Assert.False(Lz4Block.TryDecompress(block, []));
        Assert.False(Lz4Block.TryDecompress([], []));
    }

    [Fact]
    public void Decompress_EndRules_AreThoseOfTheFormat()
    {
        // One literal, a match of 15, five literals: the shortest end that the format allows.
        Assert.True(Lz4Block.TryDecompress(Convert.FromHexString("1B410100504142434445"), new byte[21]));

        // A match that reaches into the last five bytes.
        Assert.False(Lz4Block.TryDecompress(Convert.FromHexString("1B4101004041424344"), new byte[20]));
        Assert.False(Lz4Block.TryDecompress(Convert.FromHexString("1B410100504142434445"), new byte[20]));
        Assert.False(Lz4Block.TryDecompress(Convert.FromHexString("1B410100504142434445"), new byte[22]));
    }

    [Fact]
    public void Compress_DestinationTooShort_IsTheCallersMistake() =>
        Assert.Throws<ArgumentException>(() => Lz4Block.Compress(new byte[100], new byte[100]));

    private static byte[] Compress(byte[] source)
    {
        byte[] block = new byte[Lz4Block.MaxCompressedBytes(source.Length)];
        return block[..Lz4Block.Compress(source, block)];
    }

    /// <summary>All short lengths, then random lengths; runs, texts of few letters, far repeats and noise.</summary>
    private static IEnumerable<byte[]> Sources(int count)
    {
        var random = new Random(8);
        for (int i = 0; i < count; i++)
        {
            byte[] source = new byte[i < 300 ? i : random.Next(1, i % 50 == 0 ? 200_000 : 3000)];
            int letters = (i % 5) switch { 0 => 1, 1 => 2, 2 => 4, 3 => 20, _ => 256 };
            for (int j = 0; j < source.Length; j++)
            {
                source[j] = (byte)random.Next(letters);
                if (j > 40 && random.Next(50) == 0)
                {
                    int length = Math.Min(random.Next(4, 400), source.Length - j), from = random.Next(j);
                    for (int k = 0; k < length; k++)
                    {
                        source[j + k] = source[from + k];
                    }

                    j += length - 1;
                }
            }

            yield return source;
        }
    }

    private delegate int LibraryCall([In] byte[] source, [Out] byte[] destination, int sourceBytes, int destinationBytes);
}
