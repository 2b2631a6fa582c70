using System.Buffers;
using System.Buffers.Text;
using System.Text;
using E2LLM.Gguf;

namespace E2LLM.Tokenization;

/// <summary>
/// SentencePiece BPE as GGUF stores it (<c>tokenizer.ggml.model</c> "llama"): spaces become U+2581, a text gets one before it
/// where the file says so, neighbours merge into the piece of highest score, and what is no piece becomes bytes.
/// Immutable; thread-safe.
/// </summary>
internal sealed class SentencePieceModel : ITokenizerModel
{
    private readonly TokenVocabulary _vocabulary;
    private readonly Utf8TokenIndex _pieceIndex;
    private readonly uint[] _ranks;
    private readonly int[] _byteIds;
    private readonly bool _addsSpacePrefix;
    private readonly bool _mergesAcrossSpaces;
    private readonly TokenPieces _pieces;

    public SentencePieceModel(GgufMetadata metadata)
    {
        _vocabulary = new TokenVocabulary(metadata, defaultBosId: 1, defaultEosId: 2, addsBosByDefault: true);
        float[] scores = _vocabulary.ReadScores(metadata);
        _addsSpacePrefix = !metadata.TryGetBoolean("tokenizer.ggml.add_space_prefix", out bool adds) || adds;
        _ranks = new uint[scores.Length];
        (byte[] texts, int[] starts) = _vocabulary.Texts;
        _pieceIndex = new Utf8TokenIndex(texts, starts);
        for (int id = 0; id < scores.Length; id++)
        {
            _ranks[id] = RankOf(scores[id]);
            if (_vocabulary.TypeOf(id) is not (TokenType.Control or TokenType.Unknown or TokenType.Byte) && starts[id + 1] > starts[id])
            {
                _pieceIndex.TryAdd(id);

                // Where no piece has a space after anything else, no merge crosses into a space, and words are merged one at a time.
                ReadOnlySpan<byte> piece = _vocabulary.Utf8Of(id);
                _mergesAcrossSpaces |= WordLength(piece) < piece.Length;
            }
        }

        _byteIds = FindByteIds();
        _pieces = new TokenPieces(_vocabulary.Count, AppendPiece, _addsSpacePrefix);
    }

    /// <summary>U+2581, which stands for a space.</summary>
    private static ReadOnlySpan<byte> Space => "\u2581"u8;

    public TokenVocabulary Vocabulary => _vocabulary;

    public TokenPieces Pieces => _pieces;

    public void Encode(ReadOnlySpan<char> text, bool isFirst, List<int> ids)
    {
        byte[] bytes = Escape(text, _addsSpacePrefix && isFirst, out int byteCount);
        for (int start = 0; start < byteCount;)
        {
            int end = _mergesAcrossSpaces ? byteCount : start + WordLength(bytes.AsSpan(start, byteCount - start));
            EncodeRun(bytes, start, end, ids);
            start = end;
        }

        ArrayPool<byte>.Shared.Return(bytes);
    }

    /// <summary>Merges bytes [start, end) and appends what they become.</summary>
    private void EncodeRun(byte[] bytes, int start, int end, List<int> ids)
    {
        const int StackSymbols = 64;
        MergeSymbol[]? rented = end - start > StackSymbols ? ArrayPool<MergeSymbol>.Shared.Rent(end - start) : null;
        Span<MergeSymbol> symbols = rented ?? stackalloc MergeSymbol[StackSymbols];
        symbols = symbols[..Split(bytes, start, end, symbols)];
        var rule = new ScoreRule(_pieceIndex, _ranks, bytes);
        SymbolMerger.Merge(symbols, ref rule);
        for (int i = 0; i >= 0; i = symbols[i].Next)
        {
            if (symbols[i].Id >= 0)
            {
                ids.Add(symbols[i].Id);
                continue;
            }

            // A symbol without a piece is a single character that never merged.
            foreach (byte value in bytes.AsSpan(symbols[i].Start, symbols[i].Length))
            {
                if (_byteIds[value] >= 0)
                {
                    ids.Add(_byteIds[value]);
                }
            }
        }

        if (rented is not null)
        {
            ArrayPool<MergeSymbol>.Shared.Return(rented);
        }
    }

    /// <summary>Length of the spaces (U+2581) that the bytes start with and of what follows up to the next space.</summary>
    private static int WordLength(ReadOnlySpan<byte> bytes)
    {
        int spaces = 0;
        while (bytes[spaces..].StartsWith(Space))
        {
            spaces += Space.Length;
        }

        int rest = bytes[spaces..].IndexOf(Space);
        return rest < 0 ? bytes.Length : spaces + rest;
    }

    /// <summary>UTF-8 with each space as the three bytes of U+2581; lone surrogates become U+FFFD.</summary>
    private static byte[] Escape(ReadOnlySpan<char> text, bool spacePrefix, out int count)
    {
        byte[] plain = ArrayPool<byte>.Shared.Rent(Encoding.UTF8.GetMaxByteCount(text.Length));
        ReadOnlySpan<byte> utf8 = plain.AsSpan(0, Encoding.UTF8.GetBytes(text, plain));
        byte[] escaped = ArrayPool<byte>.Shared.Rent(utf8.Length + (2 * utf8.Count((byte)' ')) + Space.Length);
        count = 0;
        if (spacePrefix)
        {
            Space.CopyTo(escaped);
            count = Space.Length;
        }

        while (!utf8.IsEmpty)
        {
            int run = utf8.IndexOf((byte)' ');
            run = run < 0 ? utf8.Length : run;
            utf8[..run].CopyTo(escaped.AsSpan(count));
            count += run;
            utf8 = utf8[run..];
            if (!utf8.IsEmpty)
            {
                Space.CopyTo(escaped.AsSpan(count));
                count += Space.Length;
                utf8 = utf8[1..];
            }
        }

        ArrayPool<byte>.Shared.Return(plain);
        return escaped;
    }

    /// <summary>One symbol per character of bytes [start, end). Returns their number.</summary>
    private int Split(ReadOnlySpan<byte> bytes, int start, int end, Span<MergeSymbol> symbols)
    {
        int count = 0;
        for (int at = start; at < end; count++)
        {
            byte lead = bytes[at];
            int length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
            symbols[count] = new MergeSymbol
            {
                Start = at,
                Length = length,
                Previous = count - 1,
                Next = at + length < end ? count + 1 : -1,
                Id = _pieceIndex.Find(bytes.Slice(at, length)),
            };
            at += length;
        }

        return count;
    }

    private void AppendPiece(int id, List<byte> output)
    {
        ReadOnlySpan<byte> text = _vocabulary.Utf8Of(id);
        switch (_vocabulary.TypeOf(id))
        {
            case TokenType.Byte when TryParseByte(text, out byte value):
                output.Add(value);
                break;
            case TokenType.UserDefined:
                output.AddRange(text);
                break;
            case TokenType.Normal:
                for (int i = text.IndexOf(Space); i >= 0; i = text.IndexOf(Space))
                {
                    output.AddRange(text[..i]);
                    output.Add((byte)' ');
                    text = text[(i + 3)..];
                }

                output.AddRange(text);
                break;
        }
    }

    /// <summary>The id for each byte that no piece covers: its byte token, else the one-character piece, else the unknown token, else -1.</summary>
    private int[] FindByteIds()
    {
        var found = new int[256];
        int unknown = -1;
        Array.Fill(found, -1);
        for (int id = 0; id < _vocabulary.Count; id++)
        {
            if (_vocabulary.TypeOf(id) == TokenType.Byte && TryParseByte(_vocabulary.Utf8Of(id), out byte value))
            {
                found[value] = id;
            }
            else if (_vocabulary.TypeOf(id) == TokenType.Unknown && unknown < 0)
            {
                unknown = id;
            }
        }

        for (int value = 0; value < 256; value++)
        {
            if (found[value] < 0)
            {
                int piece = _pieceIndex.Find([(byte)value]);
                found[value] = piece >= 0 ? piece : unknown;
            }
        }

        return found;
    }

    /// <summary>Reads <c>&lt;0xAB&gt;</c>.</summary>
    private static bool TryParseByte(ReadOnlySpan<byte> text, out byte value)
    {
        value = 0;
        return text.Length == 6 && text.StartsWith("<0x"u8) && text[5] == (byte)'>'
            && Utf8Parser.TryParse(text[3..5], out value, out int used, 'X') && used == 2;
    }

    /// <summary>A number that orders as the score does, the highest score first: the float's bits, turned so that they compare as integers.</summary>
    private static uint RankOf(float score)
    {
        uint bits = BitConverter.SingleToUInt32Bits(score == 0 ? 0f : score);
        return (bits & 0x8000_0000) != 0 ? bits : 0x7FFF_FFFF - bits;
    }

    /// <summary>Two runs merge where their bytes together are a piece.</summary>
    private readonly struct ScoreRule(Utf8TokenIndex index, uint[] ranks, byte[] bytes) : IMergeRule
    {
        public bool TryMerge(in MergeSymbol left, in MergeSymbol right, out uint rank, out int id)
        {
            id = index.Find(bytes.AsSpan(left.Start, left.Length + right.Length));
            rank = id < 0 ? 0 : ranks[id];
            return id >= 0;
        }
    }
}
