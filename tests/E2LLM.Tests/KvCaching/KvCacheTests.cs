using E2LLM.KvCaching;

namespace E2LLM.Tests.KvCaching;

public sealed class KvCacheTests
{
    public static TheoryData<KvElementType, int> Layouts => new()
    {
        { KvElementType.F32, 8 }, { KvElementType.F32, 64 }, { KvElementType.F16, 24 }, { KvElementType.BF16, 16 }, { KvElementType.Q8_0, 32 }, { KvElementType.Q8_0, 64 },
    };

    [Theory]
    [InlineData(64), InlineData(8), InlineData(12)]
    public void ReadKeys_ManyPositionsAtOnce_AreThoseReadOneByOne(int headDim)
    {
        using var pool = new KvCachePool(new KvCacheLayout(new LayerRange(0, 1), 3, headDim, KvElementType.F16), 4);
        using KvCache cache = pool.CreateSequence();
        cache.Reserve(200);
        int tokenBytes = pool.Layout.TokenBytes;
        byte[] written = new byte[190 * tokenBytes], one = new byte[tokenBytes], all = new byte[written.Length];
        new Random(2).NextBytes(written);
        cache.WriteKeys(0, 5, 190, written);
        for (int i = 0; i < 190; i++)
        {
            cache.ReadKeys(0, 5 + i, 1, one);
            Assert.Equal(written[(i * tokenBytes)..((i + 1) * tokenBytes)], one);
            cache.WriteKeys(0, 5 + i, 1, one);
        }

        cache.ReadKeys(0, 5, 190, all);
        Assert.Equal(written, all);
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void WriteThenRead_AnyRange_GivesTheSameBytes(KvElementType type, int headDim)
    {
        var layout = new KvCacheLayout(new LayerRange(3, 6), 2, headDim, type);
        using var pool = new KvCachePool(layout, 4);
        using KvCache cache = pool.CreateSequence();
        cache.Reserve(200);
        byte[] keys = Bytes(200 * layout.TokenBytes, 1), values = Bytes(200 * layout.TokenBytes, 2), others = Bytes(200 * layout.TokenBytes, 3);
        cache.WriteKeys(5, 0, 200, others);
        cache.WriteValues(5, 0, 200, others);

        // In uneven pieces, so that pieces straddle blocks.
        foreach ((int first, int count) in new[] { (0, 1), (1, 62), (63, 2), (65, 100), (165, 35) })
        {
            cache.WriteKeys(4, first, count, keys.AsSpan(first * layout.TokenBytes, count * layout.TokenBytes));
            cache.WriteValues(4, first, count, values.AsSpan(first * layout.TokenBytes, count * layout.TokenBytes));
        }

        cache.Extend(200);
        foreach ((int first, int count) in new[] { (0, 200), (17, 64), (127, 3), (199, 1), (50, 0) })
        {
            byte[] read = new byte[count * layout.TokenBytes];
            cache.ReadKeys(4, first, count, read);
            Assert.Equal(keys.AsSpan(first * layout.TokenBytes, count * layout.TokenBytes).ToArray(), read);
            cache.ReadValues(4, first, count, read);
            Assert.Equal(values.AsSpan(first * layout.TokenBytes, count * layout.TokenBytes).ToArray(), read);
            cache.ReadValues(5, first, count, read);
            Assert.Equal(others.AsSpan(first * layout.TokenBytes, count * layout.TokenBytes).ToArray(), read);
        }
    }

    [Fact]
    public void Reserve_PoolTooSmall_ThrowsAndKeepsWhatWasHeld()
    {
        using var pool = new KvCachePool(new KvCacheLayout(new LayerRange(0, 1), 1, 16, KvElementType.F32), 3);
        using KvCache a = pool.CreateSequence(), b = pool.CreateSequence();
        a.Reserve(65);
        Assert.Equal((128, 1), (a.Capacity, pool.FreeBlockCount));
        var full = Assert.Throws<KvCacheFullException>(() => b.Reserve(65));
        Assert.Equal((2, 1), (full.NeededBlockCount, full.FreeBlockCount));
        Assert.Equal((0, 1), (b.Capacity, pool.FreeBlockCount));
        b.Reserve(64);
        Assert.Equal(0, pool.FreeBlockCount);
    }

    [Fact]
    public void Truncate_ToMiddleOfBlock_GivesBackOnlyEmptyBlocks()
    {
        using var pool = new KvCachePool(new KvCacheLayout(new LayerRange(0, 1), 1, 16, KvElementType.F16), 8);
        using KvCache cache = pool.CreateSequence();
        cache.Reserve(300);
        cache.Extend(300);
        cache.Truncate(65);
        Assert.Equal((65, 128, 6), (cache.Length, cache.Capacity, pool.FreeBlockCount));
        cache.Truncate(0);
        Assert.Equal((0, 0, 8), (cache.Length, cache.Capacity, pool.FreeBlockCount));
    }

    [Fact]
    public void Dispose_Twice_ReturnsBlocksOnce()
    {
        using var pool = new KvCachePool(new KvCacheLayout(new LayerRange(0, 2), 1, 16, KvElementType.F16), 2);
        KvCache cache = pool.CreateSequence();
        cache.Reserve(100);
        cache.Dispose();
        cache.Dispose();
        Assert.Equal(2, pool.FreeBlockCount);
        Assert.Throws<ObjectDisposedException>(() => cache.Reserve(1));
    }

    [Fact]
    public void Use_AfterPoolDisposed_Throws()
    {
        var pool = new KvCachePool(new KvCacheLayout(new LayerRange(0, 2), 1, 16, KvElementType.F16), 2);
        KvCache cache = pool.CreateSequence();
        cache.Reserve(10);
        pool.Dispose();
        Assert.Throws<ObjectDisposedException>(() => cache.ReadKeys(0, 0, 1, new byte[32]));
        Assert.Throws<ObjectDisposedException>(() => pool.CreateSequence());
        cache.Dispose();
    }

    [Fact]
    public void Transfer_WrongArguments_Throws()
    {
        using var pool = new KvCachePool(new KvCacheLayout(new LayerRange(2, 4), 1, 16, KvElementType.F16), 2);
        using KvCache cache = pool.CreateSequence();
        cache.Reserve(10);
        Assert.Throws<ArgumentOutOfRangeException>(() => cache.ReadKeys(1, 0, 1, new byte[32]));
        Assert.Throws<ArgumentOutOfRangeException>(() => cache.ReadKeys(4, 0, 1, new byte[32]));
        Assert.Throws<ArgumentOutOfRangeException>(() => cache.WriteValues(2, 60, 5, new byte[160]));
        Assert.Throws<ArgumentOutOfRangeException>(() => cache.WriteValues(2, int.MaxValue, 1, new byte[32]));
        Assert.Throws<ArgumentException>(() => cache.WriteKeys(2, 0, 2, new byte[63]));
        Assert.Throws<ArgumentOutOfRangeException>(() => cache.Extend(65));
    }

    [Theory]
    [InlineData(KvElementType.F32, 96, 768, 49152)]
    [InlineData(KvElementType.F16, 96, 384, 24576)]
    [InlineData(KvElementType.Q8_0, 96, 204, 13056)]
    public void Layout_HeadsOfMultipleOf16_HasNoPadding(KvElementType type, int headDim, int tokenBytes, int layerHalfBytes)
    {
        var layout = new KvCacheLayout(new LayerRange(0, 5), 2, headDim, type);
        Assert.Equal(tokenBytes, layout.TokenBytes);
        Assert.Equal(5L * 2 * layerHalfBytes, layout.BlockBytes);
        Assert.Equal(layout.PositionBytes * 64, layout.BlockBytes);
    }

    [Fact]
    public void Layout_Unsupported_Throws()
    {
        Assert.Throws<NotSupportedException>(() => new KvCacheLayout(new LayerRange(0, 1), 1, 24, KvElementType.Q8_0).Validate());
        Assert.Throws<NotSupportedException>(() => new KvCacheLayout(new LayerRange(0, 1), 1, 32, KvElementType.F16, 32).Validate());
        Assert.Throws<NotSupportedException>(() => new KvCacheLayout(new LayerRange(0, 1), 1, 32, (KvElementType)9).Validate());
    }

    private static byte[] Bytes(int count, int seed)
    {
        byte[] bytes = new byte[count];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
