using System.Diagnostics.CodeAnalysis;
using E2LLM.Transfer.Codecs;

namespace E2LLM.Transfer;

/// <summary>
/// Which codec a sender of keys and values uses: a fixed one, which is part of what both sides compare before they work together (a receiver that lacks it refuses), or for each link the one that moves most
/// by measurement, of those that the receiver knows. A slice that does not get 3 % smaller is sent raw. Immutable; thread-safe.
/// </summary>
public sealed class KvCodecPolicy
{
    private readonly string _name;

    private KvCodecPolicy(string name, bool isMeasured, params IKvBlockCodec[] codecs)
    {
        _name = name;
        IsMeasured = isMeasured;
        Codecs = codecs;
    }

    /// <summary>
    /// <c>auto</c>: of this library's lossless codecs the one that moves most on the link as measured, slice by slice: coding speed, link rate and decoding speed, of which the slowest
    /// counts. On fast links that is raw. The text is that of raw transfer, bit for bit.
    /// </summary>
    public static KvCodecPolicy Auto { get; } = new("auto", isMeasured: true, ExponentKvCodec.Instance, BytePlaneLz4KvCodec.Instance, Lz4KvCodec.Instance);

    /// <summary>
    /// <c>auto-lossy</c>: as <see cref="Auto"/>, with int8 among the codecs. Which slices are quantised depends on times then, so two runs may differ in their last digits, and in rare tokens.
    /// </summary>
    public static KvCodecPolicy AutoLossy { get; } = new("auto-lossy", isMeasured: true, [.. Auto.Codecs, QuantizedKvCodec.Int8]);

    /// <summary>Raw bytes always.</summary>
    public static KvCodecPolicy Raw { get; } = Always(RawKvCodec.Instance);

    /// <summary>Names that <see cref="TryParse"/> knows.</summary>
    public static IReadOnlyList<string> Names { get; } = [Auto._name, AutoLossy._name, ..KvCodecSet.Default.Codecs.Select(codec => codec.Name)];

    /// <summary>Codecs that may be used, besides raw.</summary>
    public IReadOnlyList<IKvBlockCodec> Codecs { get; }

    /// <summary>Whether measurements choose; otherwise the first codec is used wherever the receiver knows it.</summary>
    public bool IsMeasured { get; }

    /// <summary>Codecs that the other side must have, or nothing moves: a fixed one. Measured policies take what both sides know, and raw everybody has.</summary>
    internal IEnumerable<IKvBlockCodec> Insisted => IsMeasured ? [] : Codecs.Where(codec => codec.Id != RawKvCodec.RawId);

    /// <summary>One codec, whatever the link.</summary>
    public static KvCodecPolicy Always(IKvBlockCodec codec)
    {
        ArgumentNullException.ThrowIfNull(codec);
        return new KvCodecPolicy(codec.Name, isMeasured: false, codec);
    }

    /// <summary>Finds a policy by name: <c>auto</c>, <c>auto-lossy</c>, or the name of one of this library's codecs.</summary>
    public static bool TryParse(string name, [NotNullWhen(true)] out KvCodecPolicy? policy)
    {
        policy = name switch
        {
            "auto" => Auto,
            "auto-lossy" => AutoLossy,
            "raw" => Raw,
            _ => KvCodecSet.Default.Codecs.FirstOrDefault(codec => codec.Name == name) is { } found ? Always(found) : null,
        };
        return policy is not null;
    }

    /// <summary>Its name, as <see cref="TryParse"/> takes it.</summary>
    public override string ToString() => _name;
}
