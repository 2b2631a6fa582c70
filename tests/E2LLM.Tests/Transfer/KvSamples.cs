using System.Buffers;
using System.Runtime.InteropServices;
using E2LLM.KvCaching;
using E2LLM.Transfer;

namespace E2LLM.Tests.Transfer;

/// <summary>Small caches with known contents, and ways to cut bytes up.</summary>
internal static class KvSamples
{
    public static ModelShape Shape { get; } = new()
    {
        Name = "sample", Architecture = "llama", LayerCount = 3, HiddenSize = 8, HeadCount = 2, KvHeadCount = 1, HeadDim = 4,
        FeedForwardSize = 16, VocabularySize = 32, ContextLength = 512, RopeDimensionCount = 4, RmsNormEpsilon = 1e-5f,
    };

    public static ModelIdentity Identity(ModelShape? shape = null, byte tokenizer = 1, byte weights = 2) =>
        new(shape ?? Shape, Enumerable.Repeat(tokenizer, 32).ToArray(), Enumerable.Repeat(weights, 32).ToArray());

    public static KvCacheLayout Layout(LayerRange? layers = null, KvElementType type = KvElementType.F16, int heads = 1, int headDim = 4) =>
        new(layers ?? new LayerRange(0, 3), heads, headDim, type);

    public static int[] Tokens(int count) => [.. Enumerable.Range(0, count).Select(i => (i * 7) % 31)];

    /// <summary>A cache whose elements are finite and all a function of (layer, part, position, index).</summary>
    public static KvCache Filled(KvCachePool pool, int length)
    {
        KvCache cache = pool.CreateSequence();
        cache.Reserve(length);
        for (int layer = pool.Layout.Layers.Start; layer < pool.Layout.Layers.End; layer++)
        {
            cache.WriteKeys(layer, 0, length, Raw(pool.Layout, layer, 1, 0, length));
            cache.WriteValues(layer, 0, length, Raw(pool.Layout, layer, 2, 0, length));
        }

        cache.Extend(length);
        return cache;
    }

    public static byte[] Raw(KvCacheLayout layout, int layer, int part, int first, int count)
    {
        byte[] raw = new byte[count * layout.TokenBytes];
        if (layout.ElementType == KvElementType.F32)
        {
            Span<float> values = MemoryMarshal.Cast<byte, float>(raw.AsSpan());
            for (int i = 0; i < values.Length; i++)
            {
                values[i] = (layer * 1000) + (part * 300) + first + (i * 0.25f);
            }

            return raw;
        }

        Span<ushort> halves = MemoryMarshal.Cast<byte, ushort>(raw.AsSpan());
        int perToken = layout.TokenBytes / 2;
        for (int i = 0; i < halves.Length; i++)
        {
            halves[i] = (ushort)(((layer * 1009) + (part * 307) + (((first * perToken) + i) * 13)) & 0x3BFF);
        }

        return raw;
    }

    public static byte[] Message(KvCache cache, int[] tokens, int first = 0, IKvBlockCodec? codec = null, ulong nonce = 0)
    {
        var output = new ArrayBufferWriter<byte>();
        using var writer = new KvTransferWriter(output, KvTransferHeader.For(7, Identity(), tokens, cache.Layout, first), codec, nonce);
        writer.WriteAll(cache);
        return output.WrittenSpan.ToArray();
    }

    public static void AssertSame(KvCache expected, KvCache actual, LayerRange layers)
    {
        Assert.Equal(expected.Length, actual.Length);
        int bytes = expected.Length * expected.Layout.TokenBytes;
        byte[] left = new byte[bytes], right = new byte[bytes];
        for (int layer = layers.Start; layer < layers.End; layer++)
        {
            expected.ReadKeys(layer, 0, expected.Length, left);
            actual.ReadKeys(layer, 0, expected.Length, right);
            Assert.Equal(left, right);
            expected.ReadValues(layer, 0, expected.Length, left);
            actual.ReadValues(layer, 0, expected.Length, right);
            Assert.Equal(left, right);
        }
    }

    /// <summary>The bytes in segments of the given length.</summary>
    public static ReadOnlySequence<byte> Fragmented(byte[] bytes, int segmentBytes)
    {
        Segment? first = null, last = null;
        for (int i = 0; i < bytes.Length; i += segmentBytes)
        {
            var memory = new ReadOnlyMemory<byte>(bytes, i, Math.Min(segmentBytes, bytes.Length - i));
            last = last is null ? first = new Segment(memory, 0) : last.Append(memory);
        }

        return first is null ? ReadOnlySequence<byte>.Empty : new ReadOnlySequence<byte>(first, 0, last!, last!.Memory.Length);
    }

    /// <summary>Two segments, cut at one place.</summary>
    public static ReadOnlySequence<byte> Split(byte[] bytes, int at)
    {
        var first = new Segment(bytes.AsMemory(0, at), 0);
        Segment last = first.Append(bytes.AsMemory(at));
        return new ReadOnlySequence<byte>(first, 0, last, last.Memory.Length);
    }

    private sealed class Segment : ReadOnlySequenceSegment<byte>
    {
        public Segment(ReadOnlyMemory<byte> memory, long runningIndex)
        {
            Memory = memory;
            RunningIndex = runningIndex;
        }

        public Segment Append(ReadOnlyMemory<byte> memory)
        {
            var next = new Segment(memory, RunningIndex + Memory.Length);
            Next = next;
            return next;
        }
    }
}
