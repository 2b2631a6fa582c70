namespace E2LLM.Tokenization;

/// <summary>
/// A file's tokenizer: special tokens written in a text are cut out, and its model encodes what is between them. Plain text
/// never becomes a control token, whatever it spells. Immutable; thread-safe.
/// </summary>
internal sealed class GgufTokenizer(ITokenizerModel model) : ITokenizer
{
    private readonly TokenVocabulary _vocabulary = model.Vocabulary;
    private readonly TokenPieces _pieces = model.Pieces;

    // Made when first asked for: a large vocabulary's matchers take longer than encoding a prompt.
    private readonly Lazy<SpecialTokenMatcher> _userDefined = new(() => model.Vocabulary.CreateMatcher(parseSpecial: false));
    private readonly Lazy<SpecialTokenMatcher> _allSpecial = new(() => model.Vocabulary.CreateMatcher(parseSpecial: true));

    public int VocabularySize => _vocabulary.Count;

    public int BosId => _vocabulary.BosId;

    public bool AddsBos => _vocabulary.AddsBos;

    public bool IsEndOfGeneration(int id) => _vocabulary.IsEndOfGeneration(id);

    public IReadOnlyList<int> Encode(string text, bool addBos = true, bool parseSpecial = false)
    {
        ArgumentNullException.ThrowIfNull(text);
        var ids = new List<int>();
        if (addBos && AddsBos)
        {
            ids.Add(BosId);
        }

        bool isFirst = true;
        foreach ((int start, int length, int id) in (parseSpecial ? _allSpecial : _userDefined).Value.Partition(text))
        {
            if (id >= 0)
            {
                ids.Add(id);
            }
            else
            {
                model.Encode(text.AsSpan(start, length), isFirst, ids);
            }

            isFirst = id >= 0;
        }

        return ids;
    }

    public string Decode(IEnumerable<int> ids) => _pieces.Decode(ids);

    public ITokenDecoder CreateDecoder() => new PieceDecoder(_pieces);
}
