using System.Buffers;
using System.Buffers.Binary;
using E2LLM.KvCaching;
using E2LLM.Transfer;

namespace E2LLM.Tests.Transfer;

public sealed class KvTransferTests
{
    [Theory]
    [InlineData(1), InlineData(63), InlineData(64), InlineData(65), InlineData(129), InlineData(512)]
    public void Import_AnyLength_EqualsTheSource(int length)
    {
        foreach (KvElementType type in new[] { KvElementType.F32, KvElementType.F16, KvElementType.BF16 })
        {
            using var pool = new KvCachePool(KvSamples.Layout(type: type, heads: 2, headDim: 8), 32);
            using KvCache source = KvSamples.Filled(pool, length);
            int[] tokens = KvSamples.Tokens(length);
            byte[] message = KvSamples.Message(source, tokens);
            using KvCache target = pool.CreateSequence();
            Assert.Equal(length, new KvTransferReader(new(message)).Import(target, KvSamples.Identity(), tokens));
            KvSamples.AssertSame(source, target, pool.Layout.Layers);
        }
    }

    [Fact]
    public void Import_EveryFragmentation_EqualsTheSource()
    {
        using var pool = new KvCachePool(KvSamples.Layout(), 8);
        using KvCache source = KvSamples.Filled(pool, 3);
        int[] tokens = KvSamples.Tokens(3);
        byte[] message = KvSamples.Message(source, tokens);
        IEnumerable<ReadOnlySequence<byte>> cuts = Enumerable.Range(0, message.Length + 1).Select(at => KvSamples.Split(message, at))
            .Concat(Enumerable.Range(1, 80).Select(size => KvSamples.Fragmented(message, size)));
        foreach (ReadOnlySequence<byte> bytes in cuts)
        {
            using KvCache target = pool.CreateSequence();
            new KvTransferReader(bytes).Import(target, KvSamples.Identity(), tokens);
            KvSamples.AssertSame(source, target, pool.Layout.Layers);
        }
    }

    [Fact]
    public void Import_CutAtEveryLength_IsRejectedAndTheTargetUnchanged() => RejectsAll(message =>
        Enumerable.Range(0, message.Length).Select(length => message[..length]));

    [Fact]
    public void Import_EverySingleBitFlipped_IsRejectedAndTheTargetUnchanged() => RejectsAll(message =>
        Enumerable.Range(0, message.Length * 8).Select(bit => Flip(message, bit)));

    [Fact]
    public void Import_TwoBitsOrABurstFlipped_IsRejectedAndTheTargetUnchanged() => RejectsAll(message =>
    {
        var random = new Random(5);
        return Enumerable.Range(0, 20_000).Select(i =>
        {
            int bit = random.Next(message.Length * 8);
            return i % 2 == 0
                ? Flip(Flip(message, bit), (bit + 1 + random.Next((message.Length * 8) - 1)) % (message.Length * 8))
                : Burst(message, bit, random);
        });
    });

    [Fact]
    public void Import_FrameMissingDoubledOrSwapped_IsRejectedAndTheTargetUnchanged() => RejectsAll(message =>
    {
        List<byte[]> frames = FrameBytes.Frames(message);
        var cases = new List<byte[]>();
        for (int i = 0; i < frames.Count; i++)
        {
            cases.Add(FrameBytes.Join(frames.Where((_, j) => j != i)));
            cases.Add(FrameBytes.Join(frames.SelectMany((frame, j) => j == i ? new[] { frame, frame } : [frame])));
            if (i + 1 < frames.Count)
            {
                List<byte[]> swapped = [.. frames];
                (swapped[i], swapped[i + 1]) = (swapped[i + 1], swapped[i]);
                cases.Add(FrameBytes.Join(swapped));
            }
        }

        cases.Add([.. message, 0]);
        cases.Add([.. message, .. message]);
        return cases;
    });

    [Fact]
    public void Import_ResealedWithWrongContent_IsRejectedOrMeansTheSame()
    {
        // The checksums are made right again, so that the fields themselves are judged. What passes may only be what the format
        // allows: a newer minor version, or a message that announces more layers than are asked for.
        using var pool = new KvCachePool(KvSamples.Layout(), 8);
        using KvCache source = KvSamples.Filled(pool, 3);
        int[] tokens = KvSamples.Tokens(3);
        List<byte[]> frames = FrameBytes.Frames(KvSamples.Message(source, tokens));
        var random = new Random(11);
        int rejected = 0;
        const int Cases = 20_000;
        for (int i = 0; i < Cases; i++)
        {
            List<byte[]> changed = [.. frames.Select(frame => frame.ToArray())];
            byte[] victim = changed[random.Next(changed.Count)];
            int header = BinaryPrimitives.ReadInt32LittleEndian(victim.AsSpan(8));
            int at = random.Next(6) == 0 ? random.Next(4, 32) : Frame.PrefixBytes + random.Next(header);
            victim[at] ^= random.Next(3) switch { 0 => (byte)(1 << random.Next(8)), 1 => (byte)random.Next(1, 256), _ => 0xFF };
            using KvCache target = pool.CreateSequence();
            try
            {
                Assert.Equal(3, new KvTransferReader(new(FrameBytes.Join(changed.Select(FrameBytes.Reseal)))).Import(target, KvSamples.Identity(), tokens));
                KvSamples.AssertSame(source, target, pool.Layout.Layers);
            }
            catch (KvTransferException)
            {
                rejected++;
                Assert.Equal(0, target.Capacity);
            }
        }

        Assert.InRange(rejected, Cases * 9 / 10, Cases - 1);
    }

    [Fact]
    public void Import_NonFinite_IsRejectedUnlessAllowed()
    {
        foreach ((KvElementType type, byte[] bad) in new (KvElementType, byte[])[]
            { (KvElementType.F32, [0, 0, 0x80, 0x7F]), (KvElementType.F32, [1, 0, 0xC0, 0xFF]), (KvElementType.F16, [0, 0x7C]), (KvElementType.F16, [1, 0xFE]), (KvElementType.BF16, [0x80, 0xFF]) })
        {
            using var pool = new KvCachePool(KvSamples.Layout(type: type, headDim: 8), 8);
            for (int element = 0; element < 8 * 3; element++)
            {
                using KvCache source = KvSamples.Filled(pool, 3);
                byte[] raw = KvSamples.Raw(pool.Layout, 1, 2, 0, 3);
                bad.CopyTo(raw.AsSpan(element * bad.Length));
                source.WriteValues(1, 0, 3, raw);
                int[] tokens = KvSamples.Tokens(3);
                byte[] message = KvSamples.Message(source, tokens);
                using KvCache target = pool.CreateSequence();
                KvTransferException thrown = Assert.Throws<KvTransferException>(() => new KvTransferReader(new(message)).Import(target, KvSamples.Identity(), tokens));
                Assert.Equal("payload", thrown.Field);
                Assert.Equal(0, target.Capacity);
                Assert.Equal(3, new KvTransferReader(new(message)).Import(target, KvSamples.Identity(), tokens, rejectNonFinite: false));
            }
        }
    }

    [Fact]
    public void Import_OneFieldOfAnotherModelOrPrompt_IsRejectedAndTheFieldNamed()
    {
        using var pool = new KvCachePool(KvSamples.Layout(), 8);
        using KvCache source = KvSamples.Filled(pool, 5);
        int[] tokens = KvSamples.Tokens(5);
        byte[] message = KvSamples.Message(source, tokens);
        Expect("modelHash", pool, KvSamples.Identity(weights: 9), tokens);
        Expect("modelHash", pool, KvSamples.Identity(KvSamples.Shape with { RopeTheta = 500_000 }), tokens);
        Expect("tokenPrefixHash", pool, KvSamples.Identity(), [1, .. tokens[1..]]);
        Expect("positionCount", pool, KvSamples.Identity(), [.. tokens, 3]);
        using var otherType = new KvCachePool(KvSamples.Layout(type: KvElementType.BF16), 8);
        Expect("elementType", otherType, KvSamples.Identity(), tokens);
        using var otherHeads = new KvCachePool(KvSamples.Layout(heads: 2), 8);
        Expect("kvHeadCount", otherHeads, KvSamples.Identity(), tokens);
        using var otherWidth = new KvCachePool(KvSamples.Layout(headDim: 8), 8);
        Expect("headDim", otherWidth, KvSamples.Identity(), tokens);
        using var otherLayers = new KvCachePool(KvSamples.Layout(new LayerRange(3, 5)), 8);
        Expect("layers", otherLayers, KvSamples.Identity(), tokens);

        void Expect(string field, KvCachePool target, ModelIdentity model, int[] ids)
        {
            using KvCache sequence = target.CreateSequence();
            KvTransferException thrown = Assert.Throws<KvTransferException>(() => new KvTransferReader(new(message)).Import(sequence, model, ids));
            Assert.Contains(thrown.Differences, difference => difference.Field == field && difference.Ours != difference.Theirs);
            Assert.Equal(0, sequence.Capacity);
        }
    }

    [Fact]
    public void Import_EveryPairOfCuts_FillsEachStage()
    {
        int[] tokens = KvSamples.Tokens(70);
        using var whole = new KvCachePool(KvSamples.Layout(), 8);
        using KvCache source = KvSamples.Filled(whole, 70);
        byte[] message = KvSamples.Message(source, tokens);
        for (int start = 0; start < 3; start++)
        {
            for (int end = start + 1; end <= 3; end++)
            {
                using var part = new KvCachePool(KvSamples.Layout(new LayerRange(start, end)), 8);
                using KvCache target = part.CreateSequence();
                Assert.Equal(70, new KvTransferReader(new(message)).Import(target, KvSamples.Identity(), tokens));
                KvSamples.AssertSame(source, target, part.Layout.Layers);
            }
        }
    }

    [Fact]
    public void Import_MoreLayersThanTheMessageHas_IsRejected()
    {
        int[] tokens = KvSamples.Tokens(4);
        using var part = new KvCachePool(KvSamples.Layout(new LayerRange(0, 2)), 8);
        using KvCache source = KvSamples.Filled(part, 4);
        using var whole = new KvCachePool(KvSamples.Layout(), 8);
        using KvCache target = whole.CreateSequence();
        KvTransferException thrown = Assert.Throws<KvTransferException>(() =>
            new KvTransferReader(new(KvSamples.Message(source, tokens))).Import(target, KvSamples.Identity(), tokens));
        Assert.Contains("layer 2", thrown.Message, StringComparison.Ordinal);
        Assert.Equal(8, whole.FreeBlockCount);
    }

    [Fact]
    public void Import_BehindAPrefix_AppendsOnlyTheRest()
    {
        int[] tokens = KvSamples.Tokens(100);
        using var pool = new KvCachePool(KvSamples.Layout(), 8);
        using KvCache source = KvSamples.Filled(pool, 100);
        using KvCache target = pool.CreateSequence();
        new KvTransferReader(new(Part(0, 60))).Import(target, KvSamples.Identity(), tokens.AsSpan(0, 60));
        Assert.Throws<KvTransferException>(() => new KvTransferReader(new(Part(0, 60))).Import(target, KvSamples.Identity(), tokens));
        Assert.Equal(60, target.Length);
        Assert.Equal(40, new KvTransferReader(new(Part(60, 40))).Import(target, KvSamples.Identity(), tokens));
        KvSamples.AssertSame(source, target, pool.Layout.Layers);

        byte[] Part(int first, int count)
        {
            var output = new ArrayBufferWriter<byte>();
            using var writer = new KvTransferWriter(output, KvTransferHeader.For(1, KvSamples.Identity(), tokens.AsSpan(0, first + count), pool.Layout, first));
            writer.WriteAll(source);
            return output.WrittenSpan.ToArray();
        }
    }

    [Fact]
    public void Import_PoolTooSmall_ThrowsItsOwnErrorAndLeavesTheTarget()
    {
        using var pool = new KvCachePool(KvSamples.Layout(), 4);
        using KvCache source = KvSamples.Filled(pool, 129);
        int[] tokens = KvSamples.Tokens(129);
        byte[] message = KvSamples.Message(source, tokens);
        using KvCache target = pool.CreateSequence();
        Assert.Throws<KvCacheFullException>(() => new KvTransferReader(new(message)).Import(target, KvSamples.Identity(), tokens));
        Assert.Equal(1, pool.FreeBlockCount);
        source.Dispose();
        Assert.Equal(129, new KvTransferReader(new(message)).Import(target, KvSamples.Identity(), tokens));
    }

    private static void RejectsAll(Func<byte[], IEnumerable<byte[]>> damage)
    {
        using var pool = new KvCachePool(KvSamples.Layout(), 8);
        using KvCache source = KvSamples.Filled(pool, 3);
        int[] tokens = KvSamples.Tokens(3);
        byte[] message = KvSamples.Message(source, tokens);
        int free = pool.FreeBlockCount, count = 0;
        using KvCache target = pool.CreateSequence();
        foreach (byte[] bad in damage(message))
        {
            count++;
            Assert.Throws<KvTransferException>(() => new KvTransferReader(new(bad)).Import(target, KvSamples.Identity(), tokens));
            Assert.Equal((0, 0, free), (target.Length, target.Capacity, pool.FreeBlockCount));
        }

        Assert.True(count > 10);
        Assert.Equal(3, new KvTransferReader(new(message)).Import(target, KvSamples.Identity(), tokens));
        KvSamples.AssertSame(source, target, pool.Layout.Layers);
    }

    private static byte[] Flip(byte[] bytes, int bit)
    {
        byte[] copy = bytes.ToArray();
        copy[bit / 8] ^= (byte)(1 << (bit % 8));
        return copy;
    }

    private static byte[] Burst(byte[] bytes, int bit, Random random)
    {
        byte[] copy = Flip(bytes, bit);
        for (int i = 1; i < 32 && bit + i < bytes.Length * 8; i++)
        {
            if (random.Next(2) == 1)
            {
                copy[(bit + i) / 8] ^= (byte)(1 << ((bit + i) % 8));
            }
        }

        return copy;
    }
}
