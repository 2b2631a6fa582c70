using System.Text;
using E2LLM.Gguf;

namespace E2LLM.Tokenization;

/// <summary>
/// The tokens of a file with their types and scores, and the special ids, read from <c>tokenizer.ggml.*</c> and checked.
/// Immutable; thread-safe.
/// </summary>
internal sealed class TokenVocabulary
{
    private const string TokensKey = "tokenizer.ggml.tokens";
    private readonly byte[] _texts;
    private readonly int[] _starts;
    private readonly TokenType[] _types;
    private readonly HashSet<int> _endOfGeneration;

    /// <param name="metadata">A file's metadata.</param>
    /// <param name="defaultBosId">Id where the file names none, or -1.</param>
    /// <param name="defaultEosId">Id where the file names none, or -1.</param>
    /// <param name="addsBosByDefault">Whether a text starts with the BOS id where the file does not say.</param>
    public TokenVocabulary(GgufMetadata metadata, int defaultBosId, int defaultEosId, bool addsBosByDefault)
    {
        (_texts, _starts) = ReadTexts(metadata);
        _types = ReadTypes(metadata, Count);
        var byText = new Utf8TokenIndex(_texts, _starts);
        for (int id = 0; id < Count; id++)
        {
            if (!byText.TryAdd(id) && byText.Text(id).Length > 0)
            {
                throw metadata.Fault(TokensKey, $"token {id} \"{TextOf(id)}\" is in the vocabulary twice.");
            }
        }

        ByText = byText;
        BosId = ReadId(metadata, "tokenizer.ggml.bos_token_id", defaultBosId);
        int eosId = ReadId(metadata, "tokenizer.ggml.eos_token_id", defaultEosId);
        AddsBos = BosId >= 0 && (metadata.TryGetBoolean("tokenizer.ggml.add_bos_token", out bool adds) ? adds : addsBosByDefault);
        _endOfGeneration = EndOfGenerationTokens.Find(
            this,
            [
                eosId,
                ReadId(metadata, "tokenizer.ggml.eot_token_id", -1),
                ReadId(metadata, "tokenizer.ggml.eom_token_id", -1),
                ReadId(metadata, "tokenizer.ggml.fim_pad_token_id", -1),
                ReadId(metadata, "tokenizer.ggml.fim_rep_token_id", -1),
                ReadId(metadata, "tokenizer.ggml.fim_sep_token_id", -1),
            ],
            _types);
    }

    public int Count => _starts.Length - 1;

    public int BosId { get; }

    public bool AddsBos { get; }

    /// <summary>All tokens by their text as the file has it, whatever their type.</summary>
    public Utf8TokenIndex ByText { get; }

    /// <summary>All texts, one after another, and where each starts; then the end of the last.</summary>
    public (byte[] Texts, int[] Starts) Texts => (_texts, _starts);

    public TokenType TypeOf(int id) => _types[id];

    /// <summary>A token's text as the file has it.</summary>
    public ReadOnlySpan<byte> Utf8Of(int id) => _texts.AsSpan(_starts[id], _starts[id + 1] - _starts[id]);

    public string TextOf(int id) => Encoding.UTF8.GetString(Utf8Of(id));

    public bool IsEndOfGeneration(int id) => _endOfGeneration.Contains(id);

    /// <summary>Scores, one per token, finite.</summary>
    public float[] ReadScores(GgufMetadata metadata)
    {
        const string Key = "tokenizer.ggml.scores";
        float[] scores = [.. metadata.GetSingles(Key)];
        if (scores.Length != Count)
        {
            throw metadata.Fault(Key, $"{scores.Length} scores for {Count} tokens.");
        }

        int wrong = Array.FindIndex(scores, score => !float.IsFinite(score));
        return wrong < 0 ? scores : throw metadata.Fault(Key, $"score {wrong} is {scores[wrong]}: no finite number.");
    }

    /// <summary>Cuts a text at the tokens that are looked for before anything else: user-defined ones, and control ones where the caller asks for it.</summary>
    public SpecialTokenMatcher CreateMatcher(bool parseSpecial) => new(
        Enumerable.Range(0, Count)
            .Where(id => _types[id] == TokenType.UserDefined || (parseSpecial && _types[id] is (TokenType.Control or TokenType.Unknown)))
            .Select(id => (id, TextOf(id))));

    private static (byte[] Texts, int[] Starts) ReadTexts(GgufMetadata metadata)
    {
        GgufStringArray tokens = metadata.GetUtf8Strings(TokensKey);
        if (tokens.Count == 0)
        {
            throw metadata.Fault(TokensKey, "the vocabulary is empty.");
        }

        var starts = new int[tokens.Count + 1];
        for (int i = 0; i < tokens.Count; i++)
        {
            starts[i + 1] = starts[i] + tokens[i].Length;
        }

        var texts = new byte[starts[^1]];
        for (int i = 0; i < tokens.Count; i++)
        {
            tokens[i].CopyTo(texts.AsSpan(starts[i]));
        }

        return (texts, starts);
    }

    private static TokenType[] ReadTypes(GgufMetadata metadata, int count)
    {
        const string Key = "tokenizer.ggml.token_type";
        var types = new TokenType[count];
        if (!metadata.Contains(Key))
        {
            Array.Fill(types, TokenType.Normal);
            return types;
        }

        IReadOnlyList<int> numbers = metadata.GetInt32s(Key);
        if (numbers.Count != count)
        {
            throw metadata.Fault(Key, $"{numbers.Count} types for {count} tokens.");
        }

        for (int i = 0; i < count; i++)
        {
            types[i] = numbers[i] is >= 0 and <= (int)TokenType.Byte ? (TokenType)numbers[i] : TokenType.Undefined;
        }

        return types;
    }

    /// <summary>A special id; one outside the vocabulary counts as not given, as files write 2^32 - 1 for "none".</summary>
    private int ReadId(GgufMetadata metadata, string key, int fallback)
    {
        int known = fallback < Count ? fallback : -1;
        if (!metadata.Contains(key))
        {
            return known;
        }

        long id = metadata.GetInteger(key);
        return id >= 0 && id < Count ? (int)id : known;
    }
}
