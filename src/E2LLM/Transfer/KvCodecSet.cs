using System.Diagnostics.CodeAnalysis;
using E2LLM.Transfer.Codecs;

namespace E2LLM.Transfer;

/// <summary>The codecs that a receiver understands, by id. Raw is always among them. Immutable; thread-safe.</summary>
public sealed class KvCodecSet
{
    private readonly IKvBlockCodec?[] _byId = new IKvBlockCodec?[256];

    /// <summary>A set of raw and the given codecs.</summary>
    /// <exception cref="ArgumentException">Two codecs have one id.</exception>
    public KvCodecSet(params IEnumerable<IKvBlockCodec> codecs)
    {
        ArgumentNullException.ThrowIfNull(codecs);
        _byId[RawKvCodec.RawId] = RawKvCodec.Instance;
        foreach (IKvBlockCodec codec in codecs)
        {
            ArgumentNullException.ThrowIfNull(codec);
            IKvBlockCodec? other = _byId[codec.Id];
            if (other is not null && other != codec)
            {
                throw new ArgumentException($"Codecs {other.Name} and {codec.Name} both have id {codec.Id}.", nameof(codecs));
            }

            _byId[codec.Id] = codec;
        }
    }

    /// <summary>All codecs of this library.</summary>
    public static KvCodecSet Default { get; } = new(
        Lz4KvCodec.Instance, BytePlaneLz4KvCodec.Instance, ExponentKvCodec.Instance, QuantizedKvCodec.Int8, QuantizedKvCodec.Int4);

    /// <summary>Finds a codec by its number on the wire.</summary>
    public bool TryGet(byte id, [NotNullWhen(true)] out IKvBlockCodec? codec)
    {
        codec = _byId[id];
        return codec is not null;
    }

    internal IEnumerable<IKvBlockCodec> Codecs => _byId.OfType<IKvBlockCodec>();

    internal string Describe() => string.Join(", ", _byId.Where(codec => codec is not null).Select(codec => $"{codec!.Id} ({codec.Name})"));
}
