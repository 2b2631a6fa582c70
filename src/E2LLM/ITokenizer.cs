namespace E2LLM;

/// <summary>
/// Text to token ids and back. Small on purpose, so that a tokenizer of another library can stand in.
/// Implementations are immutable and thread-safe.
/// </summary>
public interface ITokenizer
{
    /// <summary>Number of token ids: valid ids are <c>0 .. VocabularySize - 1</c>.</summary>
    int VocabularySize { get; }

    /// <summary>Id put before a sequence, or -1 where the model has none.</summary>
    int BosId { get; }

    /// <summary>Whether the model wants <see cref="BosId"/> put before a text.</summary>
    bool AddsBos { get; }

    /// <summary>Whether <paramref name="id"/> ends a generation (end of sequence, of turn or of message).</summary>
    bool IsEndOfGeneration(int id);

    /// <summary>Encodes <paramref name="text"/>.</summary>
    /// <param name="text">Any UTF-16 text; a lone surrogate is encoded as U+FFFD.</param>
    /// <param name="addBos">Put <see cref="BosId"/> first where <see cref="AddsBos"/> says so; false never does.</param>
    /// <param name="parseSpecial">Whether the text of control tokens (such as <c>&lt;s&gt;</c>) becomes those tokens; false treats it as plain text.</param>
    IReadOnlyList<int> Encode(string text, bool addBos = true, bool parseSpecial = false);

    /// <summary>Decodes ids to text; bytes that are no valid UTF-8 become U+FFFD. Control tokens give nothing.</summary>
    /// <exception cref="ArgumentOutOfRangeException">An id is outside the vocabulary.</exception>
    string Decode(IEnumerable<int> ids);

    /// <summary>
    /// Starts a streaming decode that never emits part of a UTF-8 sequence. Its pieces together equal <see cref="Decode"/> of the same
    /// ids. For the continuation of a prompt, append the prompt's ids first and drop what they give: some tokenizers hide
    /// the space that they put before a text, and a prompt may end inside a UTF-8 sequence.
    /// </summary>
    ITokenDecoder CreateDecoder();
}

/// <summary>State of one streaming decode. Not thread-safe: one per sequence.</summary>
public interface ITokenDecoder
{
    /// <summary>Takes the next id and returns the text that is complete by now, possibly empty.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The id is outside the vocabulary.</exception>
    string Append(int id);

    /// <summary>Ends the stream: returns what is left, with U+FFFD for a sequence that never became whole.</summary>
    string Flush();
}
