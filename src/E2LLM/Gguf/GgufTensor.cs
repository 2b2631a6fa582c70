namespace E2LLM.Gguf;

/// <summary>One row of a GGUF file's tensor table. Immutable; thread-safe.</summary>
/// <param name="Name">Name, 1 to 63 bytes of UTF-8.</param>
/// <param name="Type">How elements are encoded; may be a number that <see cref="TensorType"/> does not list, see <see cref="TypeName"/>.</param>
/// <param name="Dimensions">One to four sizes, fastest first: <c>[0]</c> is the row length (columns), the rest multiply to the rows.</param>
/// <param name="Offset">First byte, counted from the start of the file.</param>
/// <param name="Bytes">Size of the encoded data in bytes, without padding.</param>
public sealed record GgufTensor(string Name, TensorType Type, IReadOnlyList<long> Dimensions, long Offset, long Bytes)
{
    /// <summary>Elements in one row.</summary>
    public long RowLength => Dimensions[0];

    /// <summary>Number of rows: the product of all dimensions but the first.</summary>
    public long RowCount
    {
        get
        {
            long rows = 1;
            for (int i = 1; i < Dimensions.Count; i++)
            {
                rows *= Dimensions[i];
            }

            return rows;
        }
    }

    /// <summary>Bytes of one encoded row.</summary>
    public long RowBytes => Bytes / RowCount;

    /// <summary>The type's name as GGUF files and their makers write it, for example <c>Q4_K</c>.</summary>
    public string TypeName => GgmlTypeTable.NameOf((uint)Type);

    /// <summary>Dimensions as text, for example <c>[4096, 32000]</c>.</summary>
    internal string ShapeText => $"[{string.Join(", ", Dimensions)}]";
}
