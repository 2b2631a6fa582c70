using E2LLM.Sampling;

namespace E2LLM.Generation;

/// <summary>
/// Makes text of the tokens of one continuation, wherever they are chosen: whole characters, up to a token that ends the generation, a stop sequence, or
/// the most tokens asked for. One per sequence; not thread-safe.
/// </summary>
public sealed class TextContinuation
{
    private readonly ITokenizer _tokenizer;
    private readonly ITokenDecoder _decoder;
    private readonly StopSequenceFilter _stops;
    private readonly int _maxTokenCount, _contextLength;
    private int _position, _count;

    /// <summary>Starts behind a prompt.</summary>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="promptIds">The prompt's token ids.</param>
    /// <param name="options">Where to end; how tokens are chosen is not looked at.</param>
    /// <param name="contextLength">Positions that the model has, <see cref="ModelShape.ContextLength"/>.</param>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public TextContinuation(ITokenizer tokenizer, IReadOnlyList<int> promptIds, GenerationOptions options, int contextLength)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(promptIds);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        _tokenizer = tokenizer;
        _decoder = tokenizer.CreateDecoder();
        _stops = new StopSequenceFilter(options.StopSequences);
        _maxTokenCount = options.MaxTokenCount;
        _contextLength = contextLength;
        _position = promptIds.Count;
        foreach (int id in promptIds)
        {
            // The text goes on where the prompt ends: a space that begins a word is kept, half a character is completed.
            _decoder.Append(id);
        }
    }

    /// <summary>Why the continuation ended; null while it goes on.</summary>
    public FinishReason? Finish { get; private set; }

    /// <summary>Takes the next token.</summary>
    /// <returns>The token with the text that is certain by now; with the last token comes all that is left.</returns>
    /// <exception cref="InvalidOperationException">The continuation has ended.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The id is outside the vocabulary.</exception>
    public GeneratedToken Append(TokenChoice token)
    {
        if (Finish is not null)
        {
            throw new InvalidOperationException($"The continuation has ended: {Finish}.");
        }

        string text = _stops.Append(_decoder.Append(token.Id));
        _count++;
        FinishReason? finish = _tokenizer.IsEndOfGeneration(token.Id) ? FinishReason.EndOfGeneration
            : _count == _maxTokenCount ? FinishReason.MaxTokenCount
            : _position + 1 == _contextLength ? FinishReason.ContextFull
            : null;
        if (finish is not null && !_stops.IsStopped)
        {
            text += _stops.Append(_decoder.Flush());
            text += _stops.Flush();
        }

        Finish = _stops.IsStopped ? FinishReason.StopSequence : finish;
        return new GeneratedToken(token.Id, text, _position++, Finish) { LogProbability = token.LogProbability, TopLogProbabilities = token.Top };
    }
}
