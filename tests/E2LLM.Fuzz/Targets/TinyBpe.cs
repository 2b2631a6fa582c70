using E2LLM.Tests.Support;

namespace E2LLM.Fuzz.Targets;

/// <summary>A byte-level BPE vocabulary of 256 bytes, a few merges and a few special tokens.</summary>
internal static class TinyBpe
{
    public const int EndOfText = 264;

    public static GgufBuilder Vocabulary(string preTokenizer)
    {
        // Byte i is written as the i-th character of the GPT-2 alphabet.
        string[] bytes = [.. Enumerable.Range(0, 256).Select(ByteText)];
        string space = ByteText(' ');
        return new GgufBuilder()
            .String("tokenizer.ggml.model", "gpt2")
            .String("tokenizer.ggml.pre", preTokenizer)
            .Strings("tokenizer.ggml.tokens", [.. bytes, "he", "ll", "hell", "hello", space + "hello", space + space, "12", "'s", "<|endoftext|>", "<user>"])
            .Int32s("tokenizer.ggml.token_type", [.. Enumerable.Repeat(1, 264), 3, 4])
            .Strings("tokenizer.ggml.merges", "h e", "l l", "he ll", "hell o", $"{space} hello", $"{space} {space}", "1 2", "' s", "hell zz")
            .UInt32("tokenizer.ggml.eos_token_id", EndOfText);
    }

    public static string ByteText(int value)
    {
        int shifted = 0;
        for (int other = 0; other < value; other++)
        {
            shifted += IsPrintable(other) ? 0 : 1;
        }

        return ((char)(IsPrintable(value) ? value : 256 + shifted)).ToString();
    }

    private static bool IsPrintable(int value) => value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
}
