namespace E2LLM;

/// <summary>
/// The one place that states how many elements and bytes a block of each <see cref="TensorType"/> has.
/// Source: the block structures of the GGUF format (ggml-common.h). Stateless; thread-safe.
/// </summary>
public static class TensorTypeGeometry
{
    /// <summary>Whether <paramref name="type"/> is one of the types listed in <see cref="TensorType"/>.</summary>
    public static bool IsKnown(TensorType type) => TryGet(type, out _, out _);

    /// <summary>Elements in one block: 1 for plain floats, 32 for the simple quantised types, 256 for the K types.</summary>
    /// <exception cref="NotSupportedException">The type is unknown.</exception>
    public static int BlockElementCount(TensorType type) => TryGet(type, out int elements, out _) ? elements : throw Unknown(type);

    /// <summary>Bytes of one block.</summary>
    /// <exception cref="NotSupportedException">The type is unknown.</exception>
    public static int BlockBytes(TensorType type) => TryGet(type, out _, out int bytes) ? bytes : throw Unknown(type);

    /// <summary>Bytes of a row of <paramref name="elementCount"/> elements.</summary>
    /// <exception cref="ArgumentException">The row is not a whole number of blocks.</exception>
    /// <exception cref="NotSupportedException">The type is unknown.</exception>
    /// <exception cref="OverflowException">The row is larger than a <see cref="long"/> can say.</exception>
    public static long RowBytes(TensorType type, long elementCount)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(elementCount);
        int block = BlockElementCount(type);
        if (elementCount % block != 0)
        {
            throw new ArgumentException(
                $"A row of {elementCount} elements is not a whole number of {type} blocks of {block}.", nameof(elementCount));
        }

        return checked(elementCount / block * BlockBytes(type));
    }

    private static bool TryGet(TensorType type, out int elements, out int bytes)
    {
        (elements, bytes) = type switch
        {
            TensorType.F32 => (1, 4),
            TensorType.F16 => (1, 2),
            TensorType.BF16 => (1, 2),
            TensorType.Q4_0 => (32, 2 + 16),
            TensorType.Q4_1 => (32, 2 + 2 + 16),
            TensorType.Q5_0 => (32, 2 + 4 + 16),
            TensorType.Q5_1 => (32, 2 + 2 + 4 + 16),
            TensorType.Q8_0 => (32, 2 + 32),
            TensorType.Q4_K => (256, 2 + 2 + 12 + 128),
            TensorType.Q5_K => (256, 2 + 2 + 12 + 32 + 128),
            TensorType.Q6_K => (256, 128 + 64 + 16 + 2),
            _ => (0, 0),
        };
        return elements != 0;
    }

    private static NotSupportedException Unknown(TensorType type) => new(
        $"Tensor type {(int)type} is not supported. Known: {string.Join(", ", Enum.GetNames<TensorType>())}.");
}
