namespace E2LLM;

/// <summary>
/// How the elements of a stored tensor are encoded. The numbers are those of the GGUF file format
/// (ggml's <c>enum ggml_type</c>); a number not listed here is not supported.
/// </summary>
[System.Diagnostics.CodeAnalysis.SuppressMessage("Naming", "CA1707", Justification = "The format's own names.")]
public enum TensorType
{
    /// <summary>IEEE 754 binary32.</summary>
    F32 = 0,

    /// <summary>IEEE 754 binary16.</summary>
    F16 = 1,

    /// <summary>4-bit, blocks of 32, one half-precision scale.</summary>
    Q4_0 = 2,

    /// <summary>4-bit, blocks of 32, half-precision scale and minimum.</summary>
    Q4_1 = 3,

    /// <summary>5-bit, blocks of 32, one half-precision scale.</summary>
    Q5_0 = 6,

    /// <summary>5-bit, blocks of 32, half-precision scale and minimum.</summary>
    Q5_1 = 7,

    /// <summary>8-bit, blocks of 32, one half-precision scale.</summary>
    Q8_0 = 8,

    /// <summary>4-bit, super-blocks of 256 with 6-bit scales and minima.</summary>
    Q4_K = 12,

    /// <summary>5-bit, super-blocks of 256 with 6-bit scales and minima.</summary>
    Q5_K = 13,

    /// <summary>6-bit, super-blocks of 256 with 8-bit scales.</summary>
    Q6_K = 14,

    /// <summary>bfloat16: the upper half of a binary32.</summary>
    BF16 = 30,
}
