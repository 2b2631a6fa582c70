namespace E2LLM.Gguf;

/// <summary>Bytes are no valid GGUF file, or a valid one lacks what was asked for. Names the place: a byte offset and a field.</summary>
public sealed class GgufFormatException : FormatException
{
    /// <summary>Creates the exception without a place.</summary>
    public GgufFormatException()
    {
    }

    /// <summary>Creates the exception without a place.</summary>
    public GgufFormatException(string message)
        : base(message)
    {
    }

    /// <summary>Creates the exception without a place.</summary>
    public GgufFormatException(string message, Exception? innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Creates the exception for <paramref name="field"/> at byte <paramref name="offset"/> of the file.</summary>
    public GgufFormatException(long offset, string field, string message)
        : base($"GGUF: {field} at byte {offset}: {message}")
    {
        Offset = offset;
        Field = field;
    }

    /// <summary>Byte of the file where the fault lies; 0 where the whole file is meant.</summary>
    public long Offset { get; }

    /// <summary>The field, metadata key or tensor that is wrong; empty where the whole file is meant.</summary>
    public string Field { get; } = string.Empty;
}
