namespace E2LLM;

/// <summary>How keys and values are stored in a KV cache. The numbers are part of the wire format: never renumber.</summary>
[System.Diagnostics.CodeAnalysis.SuppressMessage("Naming", "CA1707", Justification = "The field's own names.")]
public enum KvElementType
{
    /// <summary>IEEE 754 binary32: 4 bytes per element.</summary>
    F32 = 0,

    /// <summary>IEEE 754 binary16: 2 bytes per element.</summary>
    F16 = 1,

    /// <summary>bfloat16: 2 bytes per element.</summary>
    BF16 = 2,

    /// <summary>8-bit integers in blocks of 32 with one half-precision scale: 34 bytes per 32 elements.</summary>
    Q8_0 = 3,
}
