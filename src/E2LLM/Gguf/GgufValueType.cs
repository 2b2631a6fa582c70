namespace E2LLM.Gguf;

/// <summary>Type of a metadata value. The numbers are those of the GGUF specification.</summary>
public enum GgufValueType
{
    /// <summary>Unsigned, 1 byte.</summary>
    UInt8 = 0,

    /// <summary>Signed, 1 byte.</summary>
    Int8 = 1,

    /// <summary>Unsigned, 2 bytes.</summary>
    UInt16 = 2,

    /// <summary>Signed, 2 bytes.</summary>
    Int16 = 3,

    /// <summary>Unsigned, 4 bytes.</summary>
    UInt32 = 4,

    /// <summary>Signed, 4 bytes.</summary>
    Int32 = 5,

    /// <summary>IEEE 754 binary32.</summary>
    Float32 = 6,

    /// <summary>One byte, 0 or 1.</summary>
    Bool = 7,

    /// <summary>Length in 8 bytes, then UTF-8.</summary>
    String = 8,

    /// <summary>Element type in 4 bytes, count in 8, then the elements. Arrays of arrays are not read.</summary>
    Array = 9,

    /// <summary>Unsigned, 8 bytes.</summary>
    UInt64 = 10,

    /// <summary>Signed, 8 bytes.</summary>
    Int64 = 11,

    /// <summary>IEEE 754 binary64.</summary>
    Float64 = 12,
}

/// <summary>Sizes of metadata values.</summary>
internal static class GgufValueTypes
{
    /// <summary>Bytes of one value of a fixed-size type; 0 for strings, arrays and unknown numbers.</summary>
    public static int FixedBytes(GgufValueType type) => type switch
    {
        GgufValueType.UInt8 or GgufValueType.Int8 or GgufValueType.Bool => 1,
        GgufValueType.UInt16 or GgufValueType.Int16 => 2,
        GgufValueType.UInt32 or GgufValueType.Int32 or GgufValueType.Float32 => 4,
        GgufValueType.UInt64 or GgufValueType.Int64 or GgufValueType.Float64 => 8,
        _ => 0,
    };

    public static bool IsInteger(GgufValueType type) =>
        type is <= GgufValueType.Int32 or GgufValueType.UInt64 or GgufValueType.Int64;
}
