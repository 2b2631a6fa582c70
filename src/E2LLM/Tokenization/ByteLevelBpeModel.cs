using System.Buffers;
using System.Text;
using E2LLM.Gguf;

namespace E2LLM.Tokenization;

/// <summary>
/// Byte-level BPE as GGUF stores it (<c>tokenizer.ggml.model</c> "gpt2"): text is cut into words, and inside a word bytes merge
/// by the rank of their pair. Immutable; thread-safe.
/// </summary>
internal sealed class ByteLevelBpeModel : ITokenizerModel
{
    private readonly TokenVocabulary _vocabulary;
    private readonly PreTokenizer _preTokenizer;
    private readonly Utf8TokenIndex _tokens;
    private readonly BytePairTable _merges;
    private readonly TokenPieces _pieces;

    public ByteLevelBpeModel(GgufMetadata metadata)
    {
        _preTokenizer = PreTokenizers.Find(metadata.GetString("tokenizer.ggml.pre"));
        _vocabulary = new TokenVocabulary(metadata, defaultBosId: -1, defaultEosId: -1, _preTokenizer.AddsBos);
        _pieces = new TokenPieces(_vocabulary.Count, AppendPiece, dropsLeadingSpace: false);
        _tokens = IndexByBytes();
        _merges = new BytePairTable(metadata, _tokens, _vocabulary.Count);
    }

    public TokenVocabulary Vocabulary => _vocabulary;

    public TokenPieces Pieces => _pieces;

    public void Encode(ReadOnlySpan<char> text, bool isFirst, List<int> ids)
    {
        for (int start = 0; start < text.Length;)
        {
            ReadOnlySpan<char> segment = text[start.._preTokenizer.SegmentEnd(text, start)];
            for (int at = 0; at < segment.Length;)
            {
                int end = _preTokenizer.WordEnd(segment, at);
                EncodeWord(segment[at..end], ids);
                at = end;
            }

            start += segment.Length;
        }
    }

    private void EncodeWord(ReadOnlySpan<char> word, List<int> ids)
    {
        const int StackBytes = 192;
        int maxBytes = word.Length * 3; // UTF-8 takes at most 3 bytes for one UTF-16 unit
        byte[]? rented = maxBytes > StackBytes ? ArrayPool<byte>.Shared.Rent(maxBytes) : null;
        Span<byte> buffer = rented ?? stackalloc byte[StackBytes];
        Span<byte> bytes = buffer[..Encoding.UTF8.GetBytes(word, buffer)];
        int whole = bytes.Length == 1 || _preTokenizer.TakesWholeWords ? _tokens.Find(bytes) : -1;
        if (whole >= 0)
        {
            ids.Add(whole);
        }
        else
        {
            MergeWord(bytes, ids);
        }

        if (rented is not null)
        {
            ArrayPool<byte>.Shared.Return(rented);
        }
    }

    private void MergeWord(ReadOnlySpan<byte> bytes, List<int> ids)
    {
        const int StackSymbols = 64;
        MergeSymbol[]? rented = bytes.Length > StackSymbols ? ArrayPool<MergeSymbol>.Shared.Rent(bytes.Length) : null;
        Span<MergeSymbol> symbols = (rented ?? stackalloc MergeSymbol[StackSymbols])[..bytes.Length];
        for (int i = 0; i < bytes.Length; i++)
        {
            symbols[i] = new MergeSymbol
            {
                Start = i, Length = 1, Previous = i - 1, Next = i + 1 < bytes.Length ? i + 1 : -1, Id = _merges.ByteSymbols[bytes[i]],
            };
        }

        var rule = new PairRule(_merges);
        SymbolMerger.Merge(symbols, ref rule);
        for (int i = 0; i >= 0; i = symbols[i].Next)
        {
            if (symbols[i].Id < _vocabulary.Count)
            {
                ids.Add(symbols[i].Id);
                continue;
            }

            // What merged into no token comes out byte by byte; a byte that the vocabulary lacks is lost, as in llama.cpp.
            foreach (byte value in bytes.Slice(symbols[i].Start, symbols[i].Length))
            {
                if (_merges.ByteSymbols[value] < _vocabulary.Count)
                {
                    ids.Add(_merges.ByteSymbols[value]);
                }
            }
        }

        if (rented is not null)
        {
            ArrayPool<MergeSymbol>.Shared.Return(rented);
        }
    }

    /// <summary>Ids by the bytes that a token stands for, as far as plain text may become it.</summary>
    private Utf8TokenIndex IndexByBytes()
    {
        (byte[] bytes, int[] starts) = _pieces.Bytes;
        var index = new Utf8TokenIndex(bytes, starts);
        var scratch = new byte[_vocabulary.ByText.MaxBytes];
        for (int id = 0; id < _vocabulary.Count; id++)
        {
            if (_vocabulary.TypeOf(id) == TokenType.Normal && !_pieces[id].IsEmpty
                && ByteLevelAlphabet.TryDecode(_vocabulary.Utf8Of(id), scratch, out _))
            {
                index.TryAdd(id);
            }
        }

        return index;
    }

    private void AppendPiece(int id, List<byte> output)
    {
        ReadOnlySpan<byte> text = _vocabulary.Utf8Of(id);
        switch (_vocabulary.TypeOf(id))
        {
            case TokenType.Normal:
                var bytes = new byte[text.Length];

                // A token with a character outside the alphabet stands for its own text.
                output.AddRange(ByteLevelAlphabet.TryDecode(text, bytes, out int count) ? bytes.AsSpan(0, count) : text);
                break;
            case TokenType.UserDefined:
                output.AddRange(text);
                break;
        }
    }

    private readonly struct PairRule(BytePairTable merges) : IMergeRule
    {
        public bool TryMerge(in MergeSymbol left, in MergeSymbol right, out uint rank, out int id)
        {
            bool found = merges.TryFind(left.Id, right.Id, out int order, out id);
            rank = (uint)order;
            return found;
        }
    }
}
