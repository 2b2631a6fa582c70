using System.Buffers.Binary;
using E2LLM.KvCaching;
using E2LLM.Transfer;

namespace E2LLM.Tests.Transfer;

/// <summary>Slices that claim to be far more than came.</summary>
public sealed class SliceBombTests
{
    /// <summary>A slice of 4,096 bytes may be coded as 16 bytes, 256 times less; one byte fewer is refused before any decoder sees it.</summary>
    [Theory]
    [InlineData(16, "payload", 1), InlineData(15, "rawBytes", 0), InlineData(1, "rawBytes", 0)]
    public void Import_SliceThatWouldGrowMoreThan256Fold_IsRefusedBeforeDecoding(int codedBytes, string field, int decoded)
    {
        int[] tokens = KvSamples.Tokens(512);
        using var pool = new KvCachePool(KvSamples.Layout(), 16);
        using KvCache source = KvSamples.Filled(pool, 512);
        var codec = new CountingCodec();
        List<byte[]> frames = FrameBytes.Frames(KvSamples.Message(source, tokens, codec: codec));
        int slice = frames.FindIndex(frame => (FrameKind)frame[6] == FrameKind.KvSlice), headerBytes = BinaryPrimitives.ReadInt32LittleEndian(frames[slice].AsSpan(8));
        Assert.Equal(4096 / 2, frames[slice].Length - Frame.PrefixBytes - headerBytes);
        frames[slice] = FrameBytes.WithBody(frames[slice], frames[slice][Frame.PrefixBytes..(Frame.PrefixBytes + headerBytes + codedBytes)], headerBytes);
        using KvCache target = pool.CreateSequence();
        KvTransferException thrown = Assert.Throws<KvTransferException>(() => new KvTransferReader(new(FrameBytes.Join(frames)), codecs: new KvCodecSet(codec)).Import(target, KvSamples.Identity(), tokens));
        Assert.Equal((field, decoded, 0), (thrown.Field, codec.DecodeCount, target.Length));
    }

    /// <summary>512 positions of three layers with keys and values of 8 bytes each.</summary>
    [Theory]
    [InlineData(512 * 3 * 2 * 8, true), InlineData((512 * 3 * 2 * 8) - 1, false)]
    public void Import_MessageBeyondTheCap_IsRefusedAtItsFirstFrame(long most, bool fits)
    {
        int[] tokens = KvSamples.Tokens(512);
        using var pool = new KvCachePool(KvSamples.Layout(), 16);
        using KvCache source = KvSamples.Filled(pool, 512);
        byte[] message = KvSamples.Message(source, tokens);
        using KvCache target = pool.CreateSequence();
        var limits = new TransferLimits { MaxMessageBytes = most };
        if (fits)
        {
            Assert.Equal(512, new KvTransferReader(new(message), limits).Import(target, KvSamples.Identity(), tokens));
            return;
        }

        // Of all the bytes only the first frame is looked at.
        byte[] first = FrameBytes.Frames(message)[0];
        KvTransferException thrown = Assert.Throws<KvTransferException>(() => new KvTransferReader(new(first), limits).Import(target, KvSamples.Identity(), tokens));
        Assert.Equal(("positionCount", 0), (thrown.Field, target.Capacity));
    }

    /// <summary>Writes half of the bytes, and decodes nothing; counts the attempts.</summary>
    private sealed class CountingCodec : IKvBlockCodec
    {
        public int DecodeCount { get; private set; }

        public byte Id => 200;

        public string Name => "counting";

        public bool IsLossless => true;

        public int MaxCodedBytes(in KvBlockShape shape) => (int)shape.RawBytes;

        public int Encode(in KvBlockShape shape, ReadOnlySpan<byte> raw, Span<byte> coded)
        {
            raw[..(raw.Length / 2)].CopyTo(coded);
            return raw.Length / 2;
        }

        public bool TryDecode(in KvBlockShape shape, ReadOnlySpan<byte> coded, Span<byte> raw)
        {
            DecodeCount++;
            return false;
        }
    }
}
