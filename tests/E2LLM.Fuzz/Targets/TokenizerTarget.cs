using System.Runtime.InteropServices;
using E2LLM.Gguf;
using E2LLM.Tests.Support;
using E2LLM.Tokenization;

namespace E2LLM.Fuzz.Targets;

/// <summary>
/// Random UTF-16, lone surrogates included: ids are in the vocabulary, a streaming decode equals the whole one, and byte-level
/// BPE gives the text back. The input's bytes are the text's units; its first byte picks the tokenizer.
/// </summary>
internal sealed class TokenizerTarget : IFuzzTarget
{
    private static readonly string[] Pieces =
        ["hello", " ", "  ", "\n", "\r\n", "'s", "'LL", "12", "1234", "<|endoftext|>", "<user>", "<s>", "\u2581", "a", "\uD83E\uDD99", "\uD83E", "\u00E9", "\u4F60"];

    private readonly List<(ITokenizer Tokenizer, bool RoundTrips)> _tokenizers = [];

    public TokenizerTarget()
    {
        foreach (string pre in new[] { "llama-bpe", "qwen2", "gpt-2", "smollm" })
        {
            using GgufFile file = GgufFile.Read(TinyBpe.Vocabulary(pre).Build());
            _tokenizers.Add((TokenizerLoader.Load(file.Metadata), true));
        }

        // SentencePiece writes spaces as U+2581, so a text that has that character does not come back.
        using GgufFile tiny = GgufFile.Read(TinyModel.Metadata().WithTokenizer().Build());
        _tokenizers.Add((TokenizerLoader.Load(tiny.Metadata), false));
    }

    public string Name => "tokenizer";

    public byte[] CreateInput(Random random)
    {
        string text = string.Concat(Enumerable.Range(0, random.Next(30)).Select(_ => random.Next(3) switch
        {
            0 => Pieces[random.Next(Pieces.Length)],
            1 => ((char)random.Next(0x20, 0x7F)).ToString(),
            _ => ((char)random.Next(0x10000)).ToString(),
        }));
        return [(byte)random.Next(256), .. MemoryMarshal.AsBytes(text.AsSpan())];
    }

    public bool Check(byte[] input)
    {
        if (input.Length == 0)
        {
            return false;
        }

        (ITokenizer tokenizer, bool roundTrips) = _tokenizers[input[0] % _tokenizers.Count];
        string text = new(MemoryMarshal.Cast<byte, char>(input.AsSpan(1)));
        foreach (bool parseSpecial in new[] { false, true })
        {
            IReadOnlyList<int> ids = tokenizer.Encode(text, addBos: false, parseSpecial);
            if (ids.Any(id => id < 0 || id >= tokenizer.VocabularySize))
            {
                throw new FuzzFailureException("An id is outside the vocabulary.");
            }

            string decoded = tokenizer.Decode(ids);
            ITokenDecoder decoder = tokenizer.CreateDecoder();
            if (string.Concat(ids.Select(decoder.Append)) + decoder.Flush() != decoded)
            {
                throw new FuzzFailureException("A streaming decode differs from the whole one.");
            }

            if (!parseSpecial && decoded != Valid(text) && (roundTrips || !text.Contains('\u2581', StringComparison.Ordinal)))
            {
                throw new FuzzFailureException($"The text came back as another: {decoded}");
            }
        }

        return true;
    }

    /// <summary>The text with U+FFFD for each lone surrogate.</summary>
    private static string Valid(string text) => System.Text.Encoding.UTF8.GetString(System.Text.Encoding.UTF8.GetBytes(text));
}
