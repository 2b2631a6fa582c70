using System.Buffers.Binary;
using E2LLM.KvCaching;
using E2LLM.Transfer;

namespace E2LLM.Tests.Transfer;

/// <summary>What the frames of a message are judged by, before their content.</summary>
public sealed class FrameTests
{
    [Fact]
    public void Reader_LengthsThatCannotBe_AreRejectedBeforeMemoryIsTaken()
    {
        using var pool = new KvCachePool(KvSamples.Layout(), 4);
        using KvCache source = KvSamples.Filled(pool, 2);
        byte[] message = KvSamples.Message(source, KvSamples.Tokens(2));
        byte[] begin = FrameBytes.Frames(message)[0];
        foreach (int field in new[] { 8, 12 })
        {
            foreach (uint length in new uint[] { 1u << 24, int.MaxValue, 1u << 31, uint.MaxValue })
            {
                byte[] bad = begin.ToArray();
                BinaryPrimitives.WriteUInt32LittleEndian(bad.AsSpan(field), length);
                long before = GC.GetAllocatedBytesForCurrentThread();
                KvTransferException thrown = Assert.Throws<KvTransferException>(() => new KvTransferReader(new(FrameBytes.ResealPrefix(bad))));
                Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 1 << 20);
                Assert.Contains("cap", thrown.Message, StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public void Reader_VersionsAndReservedBits_AreJudgedAsDocumented()
    {
        using var pool = new KvCachePool(KvSamples.Layout(), 4);
        using KvCache source = KvSamples.Filled(pool, 2);
        int[] tokens = KvSamples.Tokens(2);
        List<byte[]> frames = FrameBytes.Frames(KvSamples.Message(source, tokens));
        Assert.Equal("versionMajor", Judge(4, 2));
        Assert.Equal("versionMajor", Judge(4, 0));
        Assert.Equal("flags", Judge(7, 1));
        Assert.Equal("kind", Judge(6, 200));

        // A newer minor version is read: it may only add fields behind the known ones.
        byte[] newer = [.. frames[0], 1, 2, 3];
        newer[5] = Frame.VersionMinor + 1;
        newer[8] += 3;
        using KvCache target = pool.CreateSequence();
        Assert.Equal(2, new KvTransferReader(new(FrameBytes.Join([FrameBytes.Reseal(newer), .. frames[1..]]))).Import(target, KvSamples.Identity(), tokens));
        newer[5] = 0;
        Assert.Equal("headerBytes", Assert.Throws<KvTransferException>(() => new KvTransferReader(new(FrameBytes.Reseal(newer)))).Field);

        string Judge(int at, byte value)
        {
            byte[] changed = frames[0].ToArray();
            changed[at] = value;
            return Assert.Throws<KvTransferException>(() => new KvTransferReader(new(FrameBytes.Reseal(changed)))).Field;
        }
    }

    [Fact]
    public void Reader_ForeignBytes_AreRejectedAtTheFirstByteThatDiffers()
    {
        foreach (string foreign in new[] { "GET / HTTP/1.1\r\n", "\x16\x03\x01", "x", "E2Lx", "GGUF" })
        {
            KvTransferException thrown = Assert.Throws<KvTransferException>(() => new KvTransferReader(new(System.Text.Encoding.Latin1.GetBytes(foreign))));
            Assert.Equal("magic", thrown.Field);
        }
    }

    [Fact]
    public void Reader_ReplayUnderAnotherNonce_IsRejected()
    {
        using var pool = new KvCachePool(KvSamples.Layout(), 4);
        using KvCache source = KvSamples.Filled(pool, 2);
        byte[] message = KvSamples.Message(source, KvSamples.Tokens(2), nonce: 5);
        Assert.Equal(2, new KvTransferReader(new(message), nonce: 5).Message.PositionCount);
        Assert.Equal("nonce", Assert.Throws<KvTransferException>(() => new KvTransferReader(new(message), nonce: 6)).Field);
    }

    /// <summary>The file is what version 1.0 writes, and must stay readable and be written the same for as long as the major version is 1.</summary>
    [Fact]
    public void Writer_SameCache_WritesTheGoldenBytes()
    {
        using var pool = new KvCachePool(KvSamples.Layout(), 4);
        using KvCache source = KvSamples.Filled(pool, 2);
        byte[] message = KvSamples.Message(source, KvSamples.Tokens(2));
        string path = Path.Combine(AppContext.BaseDirectory, "Golden", "kv-message-1.0.bin");
        Assert.Equal(File.ReadAllBytes(path), message);
        using KvCache target = pool.CreateSequence();
        Assert.Equal(2, new KvTransferReader(new(message)).Import(target, KvSamples.Identity(), KvSamples.Tokens(2)));
    }

    [Fact]
    public void Crc32C_KnownInputs_GiveThePublishedChecksums()
    {
        // RFC 3720, appendix B.4, and the check value of the catalogue of parametrised CRC algorithms.
        Assert.Equal(0xE3069283u, Crc32C.Compute("123456789"u8));
        Assert.Equal(0x8A9136AAu, Crc32C.Compute(new byte[32]));
        Assert.Equal(0x62A8AB43u, Crc32C.Compute(Enumerable.Repeat((byte)0xFF, 32).ToArray()));
        Assert.Equal(0x46DD794Eu, Crc32C.Compute([.. Enumerable.Range(0, 32).Select(i => (byte)i)]));
    }

    [Fact]
    public void Crc32C_EveryLengthAndAlignment_IsThatOfTheDefinition()
    {
        byte[] bytes = new byte[7000];
        new Random(5).NextBytes(bytes);
        for (int offset = 0; offset < 9; offset += 4)
        {
            uint state = 0xFFFF_FFFF;
            for (int length = 0; offset + length < bytes.Length; length++)
            {
                Assert.Equal(~state, Crc32C.Compute(bytes.AsSpan(offset, length)));
                state ^= bytes[offset + length];
                for (int bit = 0; bit < 8; bit++)
                {
                    state = (state >> 1) ^ ((state & 1) * 0x82F6_3B78);
                }
            }
        }
    }
}
