using E2LLM.KvCaching;
using E2LLM.Tests.Support;
using E2LLM.Transfer;
using E2LLM.Transfer.Codecs;

namespace E2LLM.Tests.Transfer.Codecs;

/// <summary>The adapter that Transfer/README.md shows, compiled and run against a stand-in for the package's class.</summary>
public sealed class CodecAdapterTests
{
    [Fact]
    public void Adapter_OfTheReadme_IsTheCodeBelow()
    {
        string readme = File.ReadAllText(Repository.PathOf("src/E2LLM/Transfer/README.md"));
        string source = File.ReadAllText(Repository.PathOf("tests/E2LLM.Tests/Transfer/Codecs/K4osLz4KvCodec.cs"));
        string shown = readme.Split("```csharp\n")[1].Split("```")[0].Trim();
        Assert.InRange(shown.Split('\n').Length, 10, 40);
        Assert.Contains(shown, source.ReplaceLineEndings("\n"), StringComparison.Ordinal);
    }

    [Fact]
    public void Adapter_GivenToBothSides_CarriesAMessage()
    {
        using var pool = new KvCachePool(KvSamples.Layout(heads: 4, headDim: 16), 8);
        using KvCache source = pool.CreateSequence(), target = pool.CreateSequence();
        source.Reserve(50);
        source.Extend(50);
        int[] tokens = KvSamples.Tokens(50);
        byte[] message = KvSamples.Message(source, tokens, codec: new K4osLz4KvCodec());
        Assert.True(message.Length < KvSamples.Message(source, tokens).Length / 2);
        Assert.Throws<KvTransferException>(() => new KvTransferReader(new(message)).Import(target, KvSamples.Identity(), tokens));
        Assert.Equal(50, new KvTransferReader(new(message), codecs: new KvCodecSet(new K4osLz4KvCodec())).Import(target, KvSamples.Identity(), tokens));
        KvSamples.AssertSame(source, target, pool.Layout.Layers);
    }
}

/// <summary>The signatures of K4os.Compression.LZ4's class of this name, over our own block coder.</summary>
internal static class LZ4Codec
{
    public static int MaximumOutputSize(int length) => Lz4Block.MaxCompressedBytes(length);

    public static int Encode(ReadOnlySpan<byte> source, Span<byte> target) => Lz4Block.Compress(source, target);

    public static int Decode(ReadOnlySpan<byte> source, Span<byte> target) => Lz4Block.TryDecompress(source, target) ? target.Length : -1;
}
