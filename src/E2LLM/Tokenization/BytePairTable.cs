using System.Text;
using E2LLM.Gguf;

namespace E2LLM.Tokenization;

/// <summary>
/// The merges of a byte-level BPE vocabulary: which two symbols merge, at which rank, into what. Symbols are token ids; a
/// string that merges name but the vocabulary lacks gets an id from the vocabulary's size up. Immutable; thread-safe.
/// </summary>
internal sealed class BytePairTable
{
    private const string Key = "tokenizer.ggml.merges";

    private readonly Dictionary<string, int> _extraSymbols = new(StringComparer.Ordinal);
    private readonly Utf8TokenIndex _tokens;
    private readonly int _tokenCount;
    private readonly ulong[] _pairs;
    private readonly (int Rank, int Merged)[] _results;
    private readonly int _shift;
    private readonly ulong _multiplier;

    /// <param name="metadata">The file's metadata.</param>
    /// <param name="tokens">Ids by the raw bytes that tokens stand for.</param>
    /// <param name="tokenCount">Size of the vocabulary.</param>
    public BytePairTable(GgufMetadata metadata, Utf8TokenIndex tokens, int tokenCount)
    {
        _tokens = tokens;
        _tokenCount = tokenCount;
        for (int value = 0; value < 256; value++)
        {
            ByteSymbols[value] = SymbolOf([(byte)value]);
        }

        GgufStringArray merges = metadata.GetUtf8Strings(Key);
        int capacity = (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Max(4, 2 * merges.Count));
        _pairs = new ulong[capacity];
        _results = new (int, int)[capacity];
        _shift = 64 - System.Numerics.BitOperations.Log2((uint)capacity);

        // An odd factor that a file's author cannot know keeps chosen pairs from colliding.
        _multiplier = ((ulong)(uint)HashCode.Combine(1) << 32) | (uint)HashCode.Combine(2) | 1;
        Fill(merges);
    }

    /// <summary>The symbol of each single byte.</summary>
    public int[] ByteSymbols { get; } = new int[256];

    public bool TryFind(int left, int right, out int rank, out int merged)
    {
        int slot = Slot(PairOf(left, right));
        (rank, merged) = _results[slot];
        return _pairs[slot] != 0;
    }

    private void Fill(GgufStringArray merges)
    {
        byte[] buffer = [];
        for (int rank = 0; rank < merges.Count; rank++)
        {
            // The first character of the left half may itself be a space.
            ReadOnlySpan<byte> merge = merges[rank];
            int space = merge.Length < 2 ? -1 : merge[1..].IndexOf((byte)' ') + 1;
            if (space < 1)
            {
                continue;
            }

            if (buffer.Length < merge.Length)
            {
                buffer = new byte[2 * merge.Length];
            }

            // A half outside the byte alphabet can never come up.
            if (!ByteLevelAlphabet.TryDecode(merge[..space], buffer, out int leftBytes)
                || !ByteLevelAlphabet.TryDecode(merge[(space + 1)..], buffer.AsSpan(leftBytes), out int rightBytes)
                || leftBytes == 0 || rightBytes == 0)
            {
                continue;
            }

            ulong pair = PairOf(SymbolOf(buffer.AsSpan(0, leftBytes)), SymbolOf(buffer.AsSpan(leftBytes, rightBytes)));
            int slot = Slot(pair);
            if (_pairs[slot] == 0)
            {
                _pairs[slot] = pair;
                _results[slot] = (rank, SymbolOf(buffer.AsSpan(0, leftBytes + rightBytes)));
            }
        }
    }

    /// <summary>Where the pair is, or the empty slot where it would be.</summary>
    private int Slot(ulong pair)
    {
        int slot = (int)((pair * _multiplier) >> _shift);
        while (_pairs[slot] != 0 && _pairs[slot] != pair)
        {
            slot = (slot + 1) & (_pairs.Length - 1);
        }

        return slot;
    }

    private int SymbolOf(ReadOnlySpan<byte> bytes)
    {
        int id = _tokens.Find(bytes);
        if (id >= 0)
        {
            return id;
        }

        string key = Encoding.Latin1.GetString(bytes);
        if (!_extraSymbols.TryGetValue(key, out id))
        {
            id = _tokenCount + _extraSymbols.Count;
            _extraSymbols.Add(key, id);
        }

        return id;
    }

    /// <summary>Both symbols in one number, never 0.</summary>
    private static ulong PairOf(int left, int right) => ((ulong)(uint)(left + 1) << 32) | (uint)(right + 1);
}
