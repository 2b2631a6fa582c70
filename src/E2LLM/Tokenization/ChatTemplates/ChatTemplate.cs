namespace E2LLM.Tokenization;

/// <summary>How a model wants a conversation written, up to where its answer begins. Immutable; thread-safe.</summary>
public sealed class ChatTemplate
{
    private readonly string _separator;

    private ChatTemplate(string separator) => _separator = separator;

    /// <summary>
    /// For models that know no conversation: what was said, a blank line between two turns, no names. One turn is a text to be continued, as it stands.
    /// </summary>
    public static ChatTemplate Plain { get; } = new("\n\n");

    /// <summary>Writes a conversation.</summary>
    /// <param name="turns">What was said so far, at least one turn.</param>
    /// <returns>The text that the model continues with its answer.</returns>
    /// <exception cref="ArgumentException">There is no turn.</exception>
    public string Render(IReadOnlyList<ChatTurn> turns)
    {
        ArgumentNullException.ThrowIfNull(turns);
        return turns.Count > 0 ? string.Join(_separator, turns.Select(turn => turn.Content)) : throw new ArgumentException("A conversation has at least one turn.", nameof(turns));
    }

    /// <summary>Writes a conversation as token ids, ready to be continued.</summary>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="turns">What was said so far, at least one turn.</param>
    /// <exception cref="ArgumentException">There is no turn.</exception>
    public IReadOnlyList<int> Encode(ITokenizer tokenizer, IReadOnlyList<ChatTurn> turns)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        return tokenizer.Encode(Render(turns));
    }
}
