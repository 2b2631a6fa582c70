using System.Buffers;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using E2LLM.KvCaching;
using E2LLM.Transfer;
using E2LLM.Transfer.Codecs;

namespace E2LLM.Benchmarks.KvTransfer;

/// <summary>
/// Codec speeds over 32 slices of 1 MiB (more than the nearer caches hold): 512 tokens of 1,024 channels, normal, channel sizes log-normal, 16 channels ten times larger.
/// </summary>
internal static unsafe class KvSpeed
{
    private const int Slices = 32, Tokens = 512, Heads = 8, HeadDim = 128;

    public static void Write(StringBuilder report)
    {
        report.AppendLine("## Codecs on one core").AppendLine();
        report.AppendLine("32 slices of 1 MiB, one after another: 512 tokens x 8 heads x 128, normal numbers, channel sizes log-normal, 16 channels ten times larger. GB/s of raw bytes. Coding alone, without frame and checksum.").AppendLine();
        report.AppendLine("| elements | codec | times smaller | coding GB/s | decoding GB/s |").AppendLine("|---|---|---|---|---|");
        foreach (KvElementType type in new[] { KvElementType.F16, KvElementType.BF16 })
        {
            foreach (KvPart part in new[] { KvPart.Keys, KvPart.Values })
            {
                var shape = new KvBlockShape(type, part, 0, Tokens, Heads, HeadDim);
                byte[][] raw = [.. Enumerable.Range(0, Slices).Select(i => Numbers(shape, i))];
                foreach (IKvBlockCodec codec in KvCodecSet.Default.Codecs)
                {
                    WriteCodec(report, codec, shape, raw);
                }
            }
        }

        WriteRaw(report);
        WriteLz4(report);
        WriteWhole(report);
    }

    /// <summary>Normal numbers, cheaply: sums of uniform ones.</summary>
    internal static byte[] Numbers(in KvBlockShape shape, int seed)
    {
        var random = new Random(seed);
        int channels = shape.KvHeadCount * shape.HeadDim;
        float[] size = [.. Enumerable.Range(0, channels).Select(c => MathF.Exp(Normal() * 0.5f) * (c % (channels / 16) == 5 ? 10 : 1))];
        byte[] raw = new byte[shape.RawBytes];
        Span<ushort> elements = MemoryMarshal.Cast<byte, ushort>(raw.AsSpan());
        for (int i = 0; i < elements.Length; i++)
        {
            float value = Normal() * size[i % channels];
            elements[i] = shape.ElementType == KvElementType.F16 ? BitConverter.HalfToUInt16Bits((Half)value) : (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16);
        }

        return raw;

        float Normal() => (random.NextSingle() + random.NextSingle() + random.NextSingle() + random.NextSingle() - 2) * 1.732f;
    }

    private static void WriteCodec(StringBuilder report, IKvBlockCodec codec, KvBlockShape shape, byte[][] raw)
    {
        byte[][] coded = [.. raw.Select(_ => new byte[codec.MaxCodedBytes(shape)])];
        int[] bytes = [.. raw.Select((slice, i) => codec.Encode(shape, slice, coded[i]))];
        if (bytes.Any(count => count < 0))
        {
            return;
        }

        byte[] back = new byte[raw[0].Length];
        double gain = (double)raw.Sum(slice => slice.Length) / bytes.Sum();
        double encode = KvTransferReport.Rate((long)Slices * raw[0].Length, () =>
        {
            for (int i = 0; i < raw.Length; i++)
            {
                codec.Encode(shape, raw[i], coded[i]);
            }
        });
        double decode = KvTransferReport.Rate((long)Slices * raw[0].Length, () =>
        {
            for (int i = 0; i < raw.Length; i++)
            {
                codec.TryDecode(shape, coded[i].AsSpan(0, bytes[i]), back);
            }
        });
        report.AppendLine(CultureInfo.InvariantCulture, $"| {shape.ElementType} {shape.Part.ToString().ToLowerInvariant()} | {codec.Name} | {gain:F3} | {KvTransferReport.Gigabytes(encode)} | {KvTransferReport.Gigabytes(decode)} |");
    }

    /// <summary>A raw frame against what it cannot do without: one copy and one checksum.</summary>
    private static void WriteRaw(StringBuilder report)
    {
        byte[][] payloads = [.. Enumerable.Range(0, Slices).Select(_ => new byte[1 << 20])];
        byte[] target = new byte[(1 << 20) + 4096];
        var buffer = new FixedBuffer(target);
        var frames = new FrameWriter(buffer);
        byte[] header = new byte[40];
        long total = (long)Slices << 20;
        double copy = KvTransferReport.Rate(total, () => Array.ForEach(payloads, payload => payload.CopyTo(target, 0)));
        double both = KvTransferReport.Rate(total, () => Array.ForEach(payloads, payload =>
        {
            payload.CopyTo(target, 0);
            Crc32C.Compute(payload);
        }));
        double frame = KvTransferReport.Rate(total, () => Array.ForEach(payloads, payload =>
        {
            buffer.Reset();
            frames.Write(FrameKind.KvSlice, header, payload);
        }));
        report.AppendLine().AppendLine(CultureInfo.InvariantCulture,
            $"Raw frames of 1 MiB: {KvTransferReport.Gigabytes(frame)} GB/s, {frame / both:F2} of one copy and one CRC-32C of the same bytes ({KvTransferReport.Gigabytes(both)}; the copy alone {KvTransferReport.Gigabytes(copy)}).").AppendLine();
    }

    private static void WriteLz4(StringBuilder report)
    {
        report.AppendLine("## LZ4 beside liblz4").AppendLine();
        if (!Lz4Library.IsAvailable)
        {
            report.AppendLine("liblz4.so.1 is not on this machine.").AppendLine();
            return;
        }

        report.AppendLine("GB/s of raw bytes, ours and the C library's (LZ4_compress_default, LZ4_decompress_safe) in turn, medians, and the median ratio of the pairs; decoding of the library's blocks.").AppendLine();
        report.AppendLine("| data | times smaller, ours / its | coding | its | ratio | decoding | its | ratio |").AppendLine("|---|---|---|---|---|---|---|---|");
        string root = Root();
        byte[] keys = Numbers(new KvBlockShape(KvElementType.BF16, KvPart.Keys, 0, 4 * Tokens, Heads, HeadDim), 1);
        byte[] text = [.. Directory.GetFiles(Path.Combine(root, "src"), "*.cs", SearchOption.AllDirectories).Where(file => !file.Contains("/obj/", StringComparison.Ordinal)).Order(StringComparer.Ordinal).SelectMany(File.ReadAllBytes)];
        Race(report, "source text", text);
        Race(report, "program code", File.ReadAllBytes(typeof(object).Assembly.Location)[..(4 << 20)]);
        Race(report, "exponent plane of BF16 keys", [.. keys.Where((_, i) => i % 2 == 1)]);
        Race(report, "BF16 keys as they are", keys);
        report.AppendLine();
    }

    private static void Race(StringBuilder report, string name, byte[] raw)
    {
        byte[] ours = new byte[Lz4Block.MaxCompressedBytes(raw.Length)], theirs = new byte[ours.Length], back = new byte[raw.Length];
        int ourBytes = Lz4Block.Compress(raw, ours), theirBytes = 0;
        fixed (byte* from = raw, to = theirs, result = back)
        {
            byte* source = from, target = to, restored = result;
            theirBytes = Lz4Library.Compress(source, target, raw.Length, theirs.Length);
            int bytes = theirBytes;
            (double encode, double theirEncode, double encodeRatio) = InTurn(
                raw.Length, () => Lz4Block.Compress(raw, ours), () => theirBytes = Lz4Library.Compress(source, target, raw.Length, theirs.Length));
            (double decode, double theirDecode, double decodeRatio) = InTurn(
                raw.Length, () => Lz4Block.TryDecompress(theirs.AsSpan(0, bytes), back), () => theirBytes = Lz4Library.Decompress(target, restored, bytes, raw.Length));
            report.AppendLine(CultureInfo.InvariantCulture,
                $"| {name} | {(double)raw.Length / ourBytes:F3} / {(double)raw.Length / bytes:F3} | {KvTransferReport.Gigabytes(encode)} | {KvTransferReport.Gigabytes(theirEncode)} | {encodeRatio:F2} | {KvTransferReport.Gigabytes(decode)} | {KvTransferReport.Gigabytes(theirDecode)} | {decodeRatio:F2} |");
        }
    }

    /// <summary>Both in turn: medians in bytes per second, and the median of the pairs' ratios, which a busy machine changes least.</summary>
    private static (double Ours, double Theirs, double Ratio) InTurn(long bytes, Action ours, Action theirs)
    {
        const int Pairs = 41;
        double[] left = new double[Pairs], right = new double[Pairs];
        KvTransferReport.Rate(bytes, ours);
        for (int i = 0; i < Pairs; i++)
        {
            left[i] = Seconds(ours);
            right[i] = Seconds(theirs);
        }

        return (bytes / left.Order().ElementAt(Pairs / 2), bytes / right.Order().ElementAt(Pairs / 2), left.Zip(right, (our, their) => their / our).Order().ElementAt(Pairs / 2));

        static double Seconds(Action action)
        {
            long start = System.Diagnostics.Stopwatch.GetTimestamp();
            action();
            return System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalSeconds;
        }
    }

    /// <summary>Out of a cache into frames and back: transposition, coding, checksums, checks, copies.</summary>
    private static void WriteWhole(StringBuilder report)
    {
        report.AppendLine("## Whole path").AppendLine();
        report.AppendLine("A KV cache of 8 layers x 512 tokens x 8 heads x 128 (16 MiB) to one message in memory and into another cache: transposition, coding, two checksums, checks for NaN, copies. GB/s of raw bytes.").AppendLine();
        report.AppendLine("| elements | codec | cache to message | message to cache |").AppendLine("|---|---|---|---|");
        var model = new ModelIdentity(
            new ModelShape
            {
                Name = "bench", Architecture = "llama", LayerCount = 8, HiddenSize = 4096, HeadCount = 32, KvHeadCount = Heads, HeadDim = HeadDim, FeedForwardSize = 1,
                VocabularySize = 1, ContextLength = 4096, RopeDimensionCount = HeadDim, RmsNormEpsilon = 1e-5f,
            }, new byte[32], new byte[32]);
        int[] tokens = new int[Tokens];
        foreach ((KvElementType type, IKvBlockCodec codec) in new[]
        {
            (KvElementType.F16, RawKvCodec.Instance), (KvElementType.F16, QuantizedKvCodec.Int8), (KvElementType.F16, (IKvBlockCodec)QuantizedKvCodec.Int4),
            (KvElementType.BF16, RawKvCodec.Instance), (KvElementType.BF16, ExponentKvCodec.Instance),
        })
        {
            using var pool = new KvCachePool(new KvCacheLayout(new LayerRange(0, 8), Heads, HeadDim, type), 16);
            using KvCache source = pool.CreateSequence(), target = pool.CreateSequence();
            source.Reserve(Tokens);
            for (int layer = 0; layer < 8; layer++)
            {
                byte[] numbers = Numbers(new KvBlockShape(type, KvPart.Keys, 0, Tokens, Heads, HeadDim), layer);
                source.WriteKeys(layer, 0, Tokens, numbers);
                source.WriteValues(layer, 0, Tokens, numbers);
            }

            source.Extend(Tokens);
            var output = new ArrayBufferWriter<byte>(32 << 20);
            long bytes = 16L << 20;
            double write = KvTransferReport.Rate(bytes, () =>
            {
                output.ResetWrittenCount();
                using var writer = new KvTransferWriter(output, KvTransferHeader.For(1, model, tokens, pool.Layout), codec);
                writer.WriteAll(source);
            });
            double read = KvTransferReport.Rate(bytes, () =>
            {
                target.Truncate(0);
                new KvTransferReader(new ReadOnlySequence<byte>(output.WrittenMemory)).Import(target, model, tokens);
            });
            report.AppendLine(CultureInfo.InvariantCulture, $"| {type} | {codec.Name} | {KvTransferReport.Gigabytes(write)} | {KvTransferReport.Gigabytes(read)} |");
        }

        report.AppendLine();
    }

    private static string Root()
    {
        DirectoryInfo? folder = new(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "E2LLM.sln")))
        {
            folder = folder.Parent;
        }

        return folder?.FullName ?? throw new InvalidOperationException("Run this inside the repository.");
    }

    private sealed class FixedBuffer(byte[] bytes) : IBufferWriter<byte>
    {
        private int _used;

        public void Reset() => _used = 0;

        public void Advance(int count) => _used += count;

        public Memory<byte> GetMemory(int sizeHint = 0) => bytes.AsMemory(_used);

        public Span<byte> GetSpan(int sizeHint = 0) => bytes.AsSpan(_used);
    }
}
