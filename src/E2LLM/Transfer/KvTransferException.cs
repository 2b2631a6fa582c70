namespace E2LLM.Transfer;

/// <summary>Bytes from a peer or a file are damaged, out of range, out of order, or belong to something else. Nothing of them was applied.</summary>
[System.Diagnostics.CodeAnalysis.SuppressMessage("Design", "CA1032", Justification = "An exception without a field and an offset would say nothing.")]
public sealed class KvTransferException : FormatException
{
    /// <summary>Describes what was found.</summary>
    /// <param name="field">Name of the field, as WIRE_FORMAT.md gives it.</param>
    /// <param name="offset">Byte offset of the field from the start of the stream.</param>
    /// <param name="message">What was expected and what was found.</param>
    /// <param name="differences">Fields in which both sides differ, where that is what is wrong.</param>
    public KvTransferException(string field, long offset, string message, IReadOnlyList<IdentityDifference>? differences = null)
        : base($"{message} (field {field}, offset {offset})")
    {
        Field = field;
        Offset = offset;
        Differences = differences ?? [];
    }

    /// <summary>Name of the field, as WIRE_FORMAT.md gives it.</summary>
    public string Field { get; }

    /// <summary>Byte offset of the field from the start of the stream.</summary>
    public long Offset { get; }

    /// <summary>Fields in which both sides differ; empty where the bytes themselves are wrong.</summary>
    public IReadOnlyList<IdentityDifference> Differences { get; }

    internal static KvTransferException Mismatch(string what, long offset, IReadOnlyList<IdentityDifference> differences) =>
        new(differences[0].Field, offset, $"{what} does not match: {string.Join("; ", differences)}.", differences);
}
