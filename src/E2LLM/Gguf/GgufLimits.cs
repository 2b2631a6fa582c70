namespace E2LLM.Gguf;

/// <summary>
/// How much a GGUF header may ask for. Every count is also checked against the bytes that remain, so these caps only bound
/// the work that a file of honest size may cause. Immutable; safe to share between threads.
/// </summary>
public sealed record GgufLimits
{
    /// <summary>For files from a known source: no published model comes near these.</summary>
    public static GgufLimits Default { get; } = new();

    /// <summary>For files from anywhere: room for today's largest vocabularies, little more.</summary>
    public static GgufLimits Untrusted { get; } = new()
    {
        MaxMetadataCount = 4096,
        MaxTensorCount = 65_536,
        MaxStringBytes = 4 << 20,
        MaxArrayElementCount = 4 << 20,
        MaxHeaderBytes = 128 << 20,
    };

    /// <summary>Most metadata pairs. Bounds the dictionary of keys. Default 65,536.</summary>
    public int MaxMetadataCount { get; init; } = 65_536;

    /// <summary>Most tensors. Bounds the tensor table. Default 1,048,576.</summary>
    public int MaxTensorCount { get; init; } = 1 << 20;

    /// <summary>Longest string in bytes. Bounds what one getter may materialise. Default 64 MiB.</summary>
    public int MaxStringBytes { get; init; } = 64 << 20;

    /// <summary>Most elements of one array. Bounds what one getter may materialise. Default 64 Mi.</summary>
    public int MaxArrayElementCount { get; init; } = 64 << 20;

    /// <summary>Most bytes before the tensor data. Bounds the copy of the metadata that an open file keeps. Default 512 MiB, at most 1 GiB.</summary>
    public int MaxHeaderBytes { get; init; } = 512 << 20;

    /// <summary>Largest <c>general.alignment</c> in bytes. Bounds the padding between tensors. Default 65,536.</summary>
    public int MaxAlignmentBytes { get; init; } = 65_536;

    /// <summary>Throws where a limit is out of its range.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A limit is negative, the header's above 1 GiB, or the alignment's below 1.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfNegative(MaxMetadataCount);
        ArgumentOutOfRangeException.ThrowIfNegative(MaxTensorCount);
        ArgumentOutOfRangeException.ThrowIfNegative(MaxStringBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(MaxArrayElementCount);
        ArgumentOutOfRangeException.ThrowIfNegative(MaxHeaderBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(MaxHeaderBytes, 1 << 30);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxAlignmentBytes, 1);
    }
}
