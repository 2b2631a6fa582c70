namespace E2LLM.Tokenization;

/// <summary>How plain text becomes tokens: what differs between the kinds of tokenizer. Immutable; thread-safe.</summary>
internal interface ITokenizerModel
{
    TokenVocabulary Vocabulary { get; }

    TokenPieces Pieces { get; }

    /// <summary>Appends the ids of text that spells no special token.</summary>
    /// <param name="text">The text.</param>
    /// <param name="isFirst">Whether nothing, or a special token, stands before it.</param>
    /// <param name="ids">Where the ids go.</param>
    void Encode(ReadOnlySpan<char> text, bool isFirst, List<int> ids);
}
