using E2LLM.Transfer;

namespace E2LLM.Tests.Transfer.Codecs;

/// <summary>K4os.Compression.LZ4 behind the codec interface; the same bytes as the built-in codec of id 1.</summary>
public sealed class K4osLz4KvCodec : IKvBlockCodec
{
    public byte Id => 128;

    public string Name => "k4os-lz4";

    public bool IsLossless => true;

    public int MaxCodedBytes(in KvBlockShape shape) => LZ4Codec.MaximumOutputSize(checked((int)shape.RawBytes));

    public int Encode(in KvBlockShape shape, ReadOnlySpan<byte> raw, Span<byte> coded) => LZ4Codec.Encode(raw, coded);

    public bool TryDecode(in KvBlockShape shape, ReadOnlySpan<byte> coded, Span<byte> raw) => LZ4Codec.Decode(coded, raw) == raw.Length;
}
