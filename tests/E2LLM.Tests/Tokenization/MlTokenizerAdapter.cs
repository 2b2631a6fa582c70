namespace E2LLM.Tests.Tokenization;

/// <summary>A Microsoft.ML.Tokenizers tokenizer as ours. Which special tokens it parses is the inner tokenizer's own setting.</summary>
public sealed class MlTokenizer(Tokenizer inner, int vocabularySize, int bosId, bool addsBos, params int[] endIds) : ITokenizer
{
    public int VocabularySize => vocabularySize;

    public int BosId => bosId;

    public bool AddsBos => addsBos;

    public bool IsEndOfGeneration(int id) => endIds.Contains(id);

    public IReadOnlyList<int> Encode(string text, bool addBos = true, bool parseSpecial = false) =>
        addBos && addsBos ? [bosId, .. inner.EncodeToIds(text)] : inner.EncodeToIds(text);

    public string Decode(IEnumerable<int> ids) => inner.Decode(ids) ?? string.Empty;

    public ITokenDecoder CreateDecoder() => new Decoder(this);

    private sealed class Decoder(MlTokenizer tokenizer) : ITokenDecoder
    {
        private readonly List<int> _held = [];

        public string Append(int id)
        {
            // An unfinished character decodes to U+FFFD: hold its ids, at most a character's four bytes.
            _held.Add(id);
            return _held.Count < 4 && tokenizer.Decode(_held).EndsWith('\uFFFD') ? string.Empty : Flush();
        }

        public string Flush()
        {
            string text = tokenizer.Decode(_held);
            _held.Clear();
            return text;
        }
    }
}
