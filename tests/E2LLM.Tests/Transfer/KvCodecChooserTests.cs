using E2LLM.Transfer;
using E2LLM.Transfer.Codecs;

namespace E2LLM.Tests.Transfer;

public sealed class KvCodecChooserTests
{
    private const int RawBytes = 1_000_000;

    private static readonly IKvBlockCodec Exponent = ExponentKvCodec.Instance, Planes = BytePlaneLz4KvCodec.Instance, Lz4 = Lz4KvCodec.Instance, Int8 = QuantizedKvCodec.Int8;

    /// <summary>Link rate in bytes per second, and what moves most at coding speeds of 2 GB/s (exponent, 1.33), 0.5 (planes, 1.5), 0.6 (lz4, 1.0) and 1.8 (int8, 1.95).</summary>
    [Theory]
    [InlineData(117e6, false, "byte-plane-lz4")]
    [InlineData(400e6, false, "exponent")]
    [InlineData(1.2e9, false, "exponent")]
    [InlineData(2.5e9, false, "raw")]
    [InlineData(117e6, true, "int8")]
    [InlineData(1.2e9, true, "int8")]
    [InlineData(1.9e9, true, "exponent")]
    [InlineData(5e9, true, "raw")]
    public void Next_MeasuredSpeeds_IsWhatMovesMost(double linkRate, bool lossy, string expected)
    {
        var chooser = new KvCodecChooser(lossy ? KvCodecPolicy.AutoLossy : KvCodecPolicy.Auto, _ => true) { LinkBytesPerSecond = linkRate };
        int trials = lossy ? 4 : 3;
        for (int i = 0; i < 200; i++)
        {
            IKvBlockCodec codec = chooser.Next(Shape(), 100, out bool isTrial);
            Assert.True(isTrial ? i < trials || (i - trials) % 32 == 31 : codec.Name == expected, $"{i}: {codec.Name}");
            (double speed, double gain) = codec.Id switch { 3 => (2e9, 1.33), 2 => (0.5e9, 1.5), 1 => (0.6e9, 1.0), 4 => (1.8e9, 1.95), _ => (1e12, 1) };
            chooser.Learn(codec, RawBytes, (int)(RawBytes / gain), RawBytes / speed, isTrial ? RawBytes / 4e9 : null);
        }
    }

    [Fact]
    public void Next_CodecThatWarmsUp_IsFoundAgain()
    {
        var chooser = new KvCodecChooser(KvCodecPolicy.Auto, codec => codec == Exponent) { LinkBytesPerSecond = 1e9 };
        for (int i = 0; i < 40; i++)
        {
            IKvBlockCodec codec = chooser.Next(Shape(), 100, out bool isTrial);
            chooser.Learn(codec, RawBytes, RawBytes * 3 / 4, i == 0 ? 1 : 1e-4, isTrial ? 1e-4 : null);
            Assert.Equal(i == 0 || i >= 32 ? Exponent : RawKvCodec.Instance, codec);
        }
    }

    [Fact]
    public void Next_ReceiverWithoutTheCodec_IsRaw()
    {
        var chooser = new KvCodecChooser(KvCodecPolicy.Always(Int8), _ => false);
        Assert.Equal(RawKvCodec.Instance, chooser.Next(Shape(), 100, out _));
        chooser = new KvCodecChooser(KvCodecPolicy.Always(Int8), codec => codec == Int8);
        Assert.Equal(Int8, chooser.Next(Shape(), 100, out _));
    }

    [Fact]
    public void Names_EachOne_IsThePolicyOfThatName()
    {
        Assert.Equal(["auto", "auto-lossy", "raw", "lz4", "byte-plane-lz4", "exponent", "int8", "int4"], KvCodecPolicy.Names);
        foreach (string name in KvCodecPolicy.Names)
        {
            Assert.True(KvCodecPolicy.TryParse(name, out KvCodecPolicy? policy));
            Assert.Equal(name, policy.ToString());
        }

        Assert.False(KvCodecPolicy.TryParse("int3", out _));
        Assert.Equal([Exponent, Planes, Lz4], KvCodecPolicy.Auto.Codecs);
    }

    [Theory]
    [InlineData(200), InlineData(100), InlineData(65), InlineData(70), InlineData(3)]
    public void Message_Int4_LeavesTheFirstFourAndTheLast64PositionsExact(int length)
    {
        using var pool = new E2LLM.KvCaching.KvCachePool(KvSamples.Layout(heads: 2, headDim: 32), 16);
        using E2LLM.KvCaching.KvCache source = KvSamples.Filled(pool, length), target = pool.CreateSequence();
        int[] tokens = KvSamples.Tokens(length);
        byte[] message = KvSamples.Message(source, tokens, codec: QuantizedKvCodec.Int4);
        Assert.Equal(length, new KvTransferReader(new(message)).Import(target, KvSamples.Identity(), tokens));
        int changed = 0;
        byte[] left = new byte[pool.Layout.TokenBytes], right = new byte[left.Length];
        for (int position = 0; position < length; position++)
        {
            source.ReadKeys(1, position, 1, left);
            target.ReadKeys(1, position, 1, right);
            bool isSame = left.AsSpan().SequenceEqual(right);
            changed += isSame ? 0 : 1;
            Assert.True(isSame || (position >= 4 && position < length - 64), $"{position}");
        }

        // Few tokens in the middle are not worth coding at all.
        Assert.Equal(length >= 100 ? length - 68 : 0, changed);
    }

    private static KvBlockShape Shape() => new(KvElementType.BF16, KvPart.Keys, 0, 64, 1, 64);
}
