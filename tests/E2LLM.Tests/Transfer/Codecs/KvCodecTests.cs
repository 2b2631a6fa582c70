using System.Buffers;
using System.Runtime.InteropServices;
using E2LLM.Deployment;
using E2LLM.KvCaching;
using E2LLM.Replicas;
using E2LLM.Tests.Replicas;
using E2LLM.Transfer;
using E2LLM.Transfer.Codecs;

namespace E2LLM.Tests.Transfer.Codecs;

public sealed class KvCodecTests
{
    private static readonly IKvBlockCodec[] Lossless = [RawKvCodec.Instance, Lz4KvCodec.Instance, BytePlaneLz4KvCodec.Instance, ExponentKvCodec.Instance];

    public static TheoryData<string, KvElementType> All()
    {
        var data = new TheoryData<string, KvElementType>();
        foreach (IKvBlockCodec codec in Lossless)
        {
            foreach (KvElementType type in new[] { KvElementType.F32, KvElementType.F16, KvElementType.BF16 })
            {
                if (codec != ExponentKvCodec.Instance || type == KvElementType.BF16)
                {
                    data.Add(codec.Name, type);
                }
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(All))]
    public void Decode_EncodedSlices_GivesEveryBit(string name, KvElementType type)
    {
        IKvBlockCodec codec = Lossless.Single(codec => codec.Name == name);
        foreach (int tokens in new[] { 1, 2, 3, 63, 64, 65, 200 })
        {
            var shape = new KvBlockShape(type, KvPart.Keys, 0, tokens, 2, 16);
            byte[] raw = Normal(shape, tokens), coded = new byte[codec.MaxCodedBytes(shape)], back = new byte[raw.Length];
            int bytes = codec.Encode(shape, raw, coded);
            Assert.InRange(bytes, 1, coded.Length);
            Assert.True(codec.TryDecode(shape, coded.AsSpan(0, bytes), back));
            Assert.Equal(raw, back);
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public void Decode_DamagedSlices_NeverThrowsNorShowsForeignBytes(string name, KvElementType type)
    {
        IKvBlockCodec codec = Lossless.Single(codec => codec.Name == name);
        var shape = new KvBlockShape(type, KvPart.Values, 0, 40, 2, 16);
        byte[] raw = new byte[shape.RawBytes], coded = new byte[codec.MaxCodedBytes(shape)];
        int bytes = codec.Encode(shape, raw, coded);
        var random = new Random(6);
        for (int i = 0; i < 3000; i++)
        {
            // What earlier users of pooled buffers left behind must not come out.
            byte[] pooled = ArrayPool<byte>.Shared.Rent(raw.Length);
            pooled.AsSpan().Fill(0xA5);
            ArrayPool<byte>.Shared.Return(pooled);
            byte[] bad = coded[..bytes];
            bad[random.Next(bytes)] ^= (byte)(1 << random.Next(8));
            bad = random.Next(2) == 0 ? bad[..random.Next(bytes)] : bad;
            byte[] result = new byte[raw.Length];
            if (!codec.TryDecode(shape, bad, result))
            {
                Assert.DoesNotContain("A5A5A5A5", Convert.ToHexString(result), StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public void BytePlanes_NormalBFloat16_GainWhereLz4AloneDoesNot()
    {
        var shape = new KvBlockShape(KvElementType.BF16, KvPart.Keys, 0, 512, 8, 64);
        byte[] raw = Normal(shape, 3), coded = new byte[BytePlaneLz4KvCodec.Instance.MaxCodedBytes(shape)];
        Assert.InRange((double)raw.Length / BytePlaneLz4KvCodec.Instance.Encode(shape, raw, coded), 1.05, 2);
        Assert.InRange((double)raw.Length / Lz4KvCodec.Instance.Encode(shape, raw, coded), 0.98, 1.02);
    }

    [Fact]
    public void Message_CodedSlices_AreEqualAndSmallerWhereTheCodecGains()
    {
        foreach (IKvBlockCodec codec in Lossless)
        {
            using var pool = new KvCachePool(KvSamples.Layout(type: KvElementType.F32, heads: 4, headDim: 16), 8);
            using KvCache source = KvSamples.Filled(pool, 100), target = pool.CreateSequence();
            int[] tokens = KvSamples.Tokens(100);
            byte[] message = KvSamples.Message(source, tokens, codec: codec);
            Assert.Equal(100, new KvTransferReader(new(message)).Import(target, KvSamples.Identity(), tokens));
            KvSamples.AssertSame(source, target, pool.Layout.Layers);

            // A ramp of floats repeats in its upper bytes only: LZ4 alone gains nothing on it, so its slices went raw.
            int raw = KvSamples.Message(source, tokens).Length;
            Assert.True(codec == BytePlaneLz4KvCodec.Instance ? message.Length < raw : message.Length == raw);
        }
    }

    [Fact]
    public void Message_CodecThatTheReaderLacks_IsRejectedAndNamed()
    {
        using var pool = new KvCachePool(KvSamples.Layout(type: KvElementType.F32, heads: 4, headDim: 16), 8);
        using KvCache source = KvSamples.Filled(pool, 100), target = pool.CreateSequence();
        byte[] message = KvSamples.Message(source, KvSamples.Tokens(100), codec: BytePlaneLz4KvCodec.Instance);
        KvTransferException thrown = Assert.Throws<KvTransferException>(() =>
            new KvTransferReader(new(message), codecs: new KvCodecSet()).Import(target, KvSamples.Identity(), KvSamples.Tokens(100)));
        Assert.Equal(("codec", 0), (thrown.Field, target.Capacity));
    }

    [Fact]
    public async Task Serve_WithACodec_MovesFewerBytesAndGivesTheTokensOfOneProcess()
    {
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        ServingRequest request = DispatcherTests.Request(200, 10);
        long[] bytes = new long[Lossless.Length];
        for (int i = 0; i < Lossless.Length; i++)
        {
            IKvBlockCodec codec = Lossless[i];
            await using var cluster = new MemoryCluster { ChunkTokenCount = 100, HostOptions = options => options with { CodecPolicy = KvCodecPolicy.Always(codec) } };
            await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("p", ReplicaRole.Prefill, 4), cluster.Add("d", ReplicaRole.Decode, 3));
            ServedRequest served = dispatcher.Serve(request);
            Assert.Equal(MemoryCluster.Reference(whole, request), await DispatcherTests.CollectAsync(served));
            bytes[i] = served.Report.KvTransferBytes;
        }

        Assert.True(bytes[1] < bytes[0] && bytes[2] < bytes[0], string.Join(", ", bytes));
    }

    /// <summary>Elements of a normal distribution, as keys and values roughly have.</summary>
    private static byte[] Normal(KvBlockShape shape, int seed)
    {
        var random = new Random(seed);
        byte[] raw = new byte[shape.RawBytes];
        Span<ushort> halves = MemoryMarshal.Cast<byte, ushort>(raw.AsSpan());
        Span<float> floats = MemoryMarshal.Cast<byte, float>(raw.AsSpan());
        for (int i = 0; i < (shape.ElementType == KvElementType.F32 ? floats.Length : halves.Length); i++)
        {
            float value = (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
            switch (shape.ElementType)
            {
                case KvElementType.F32:
                    floats[i] = value;
                    break;
                case KvElementType.F16:
                    halves[i] = BitConverter.HalfToUInt16Bits((Half)value);
                    break;
                default:
                    halves[i] = (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16);
                    break;
            }
        }

        return raw;
    }
}
