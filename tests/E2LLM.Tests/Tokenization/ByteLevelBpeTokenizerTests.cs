using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using E2LLM.Fuzz.Targets;
using E2LLM.Gguf;
using E2LLM.Tests.Support;
using E2LLM.Tokenization;

namespace E2LLM.Tests.Tokenization;

public class ByteLevelBpeTokenizerTests
{
    private const string Gpt2Pattern = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    private const string Llama3Pattern =
        @"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private const string TekkenPattern =
        @"[^\r\n\p{L}\p{N}]?(?:(?=\p{L})[^a-z])*(?:(?=\p{L})[^A-Z])+|[^\r\n\p{L}\p{N}]?(?:(?=\p{L})[^a-z])+(?:(?=\p{L})[^A-Z])*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    [Theory]
    [InlineData("llama-bpe")]
    [InlineData("qwen2")]
    public void Encode_PublishedVocabulary_EqualsItsOutFile(string name)
    {
        if (SharedData.Find($"models/vocab/ggml-vocab-{name}.gguf") is string path)
        {
            using GgufFile file = GgufFile.Open(path);
            OutFile.AssertEqual(TokenizerLoader.Load(file.Metadata), path);
        }
        else
        {
            Console.WriteLine("skipped: no ../shared");
        }
    }

    [Fact]
    public void Decode_OfEncode_EveryCodePointComesBack()
    {
        ITokenizer tokenizer = Load("llama-bpe");
        for (int first = 0; first < 0x110000; first += 0x1000)
        {
            var text = new StringBuilder();
            for (int codePoint = first; codePoint < first + 0x1000; codePoint++)
            {
                // A lone surrogate is no code point that UTF-8 can write: it becomes U+FFFD, which the next test holds.
                text.Append(codePoint is >= 0xD800 and < 0xE000 ? "\uFFFD" : char.ConvertFromUtf32(codePoint));
            }

            string expected = text.ToString();
            Assert.Equal(expected, tokenizer.Decode(tokenizer.Encode(expected)));
        }
    }

    [Fact]
    public void Encode_LoneSurrogates_BecomeReplacementCharacters()
    {
        ITokenizer tokenizer = Load("gpt-2");
        Assert.Equal(tokenizer.Encode("a\uFFFDb\uFFFD \uFFFD"), tokenizer.Encode("a\uD800b\uDC00 \uDBFF"));
        Assert.Equal(tokenizer.Encode("\uFFFD\uFFFD"), tokenizer.Encode("\uDC00\uD800"));
    }

    [Theory]
    [InlineData("gpt-2", Gpt2Pattern)]
    [InlineData("llama-bpe", Llama3Pattern)]
    [InlineData("tekken", TekkenPattern)]
    public void WordEnd_RandomText_EqualsTheRegularExpression(string name, string pattern)
    {
        PreTokenizer preTokenizer = PreTokenizers.Find(name);
        var regex = new Regex(pattern, RegexOptions.CultureInvariant, TimeSpan.FromMinutes(1));
        string[] pieces = ["'s", "'LL", "'", " ", "  ", "\t", "\n", "\r\n", "a", "Zz", "AB", "aB", "\u00C9", "/", "\u00E9", "\u4F60", "1", "12345", "\u0663", "\u00BD", "!", "...", "\u0301", "\u00A0", "\u3000", "\u0085", "_", "\uE000"];
        var random = new Random(7);
        for (int i = 0; i < 20_000; i++)
        {
            string text = string.Concat(Enumerable.Range(0, random.Next(1, 16)).Select(_ => pieces[random.Next(pieces.Length)]));
            var words = new List<string>();
            for (int start = 0; start < text.Length; start += words[^1].Length)
            {
                words.Add(text[start..preTokenizer.WordEnd(text, start)]);
            }

            Assert.Equal(regex.Matches(text).Select(match => match.Value), words);
        }
    }

    [Fact]
    public void Of_AllCodePoints_AreTheClassesOfUnicode15()
    {
        var classes = new byte[0x110000];
        int letters = 0, numbers = 0, spaces = 0;
        for (int codePoint = 0; codePoint < classes.Length; codePoint++)
        {
            CharacterClass found = CharacterClasses.Of(codePoint);
            classes[codePoint] = (byte)found;
            letters += found == CharacterClass.Letter ? 1 : 0;
            numbers += found == CharacterClass.Number ? 1 : 0;
            spaces += found == CharacterClass.Whitespace ? 1 : 0;
        }

        // Counted from llama.cpp's unicode-data.cpp (release v0.5.0), expanded to a class for each code point by a script of its own.
        Assert.Equal((136726, 1831, 25), (letters, numbers, spaces));
        Assert.Equal("d30035ae5f30bff72060d4d5b4d6ef6a6b42c23ac351b235fe979db31866d6e6", Convert.ToHexStringLower(SHA256.HashData(classes)));
    }

    [Fact]
    public void Encode_MergesByRank_EqualsAPlainLoop()
    {
        GgufBuilder builder = TinyBpe.Vocabulary("gpt-2");
        using GgufFile file = GgufFile.Read(builder.Build());
        ITokenizer tokenizer = TokenizerLoader.Load(file.Metadata);
        string[] tokens = [.. file.Metadata.GetStrings("tokenizer.ggml.tokens")];
        string[][] merges = [.. file.Metadata.GetStrings("tokenizer.ggml.merges").Select(merge => merge.Split(' '))];
        var random = new Random(3);
        for (int i = 0; i < 2_000; i++)
        {
            // Letters only: one word.
            string word = string.Concat(Enumerable.Range(0, random.Next(1, 12)).Select(_ => "hello"[random.Next(5)]));
            List<string> symbols = [.. word.Select(letter => letter.ToString())];
            foreach (string[] merge in merges)
            {
                for (int at = 0; at + 1 < symbols.Count; at++)
                {
                    if (symbols[at] == merge[0] && symbols[at + 1] == merge[1])
                    {
                        symbols[at] += merge[1];
                        symbols.RemoveAt(at + 1);
                    }
                }
            }

            Assert.Equal(symbols.Select(symbol => Array.IndexOf(tokens, symbol)), tokenizer.Encode(word));
        }
    }

    [Fact]
    public void Encode_SpecialAndUserDefinedText_OnlyBecomesATokenWhereItMay()
    {
        ITokenizer tokenizer = Load("qwen2");
        const int User = TinyBpe.EndOfText + 1;
        Assert.Equal([User], tokenizer.Encode("<user>"));
        Assert.DoesNotContain(TinyBpe.EndOfText, tokenizer.Encode("<|endoftext|>"));
        Assert.Equal([259, TinyBpe.EndOfText, User], tokenizer.Encode("hello<|endoftext|><user>", parseSpecial: true));
        Assert.Equal("<user>", tokenizer.Decode([TinyBpe.EndOfText, User]));
        Assert.True(tokenizer.IsEndOfGeneration(TinyBpe.EndOfText));
        Assert.False(tokenizer.IsEndOfGeneration(User));
        Assert.Equal((-1, false), (tokenizer.BosId, tokenizer.AddsBos));
    }

    [Fact]
    public void Encode_OverlappingSpecialTokens_TakesTheLongestFirst()
    {
        var matcher = new SpecialTokenMatcher([(1, "ab"), (2, "bcd"), (3, "abx"), (4, "d")]);
        Assert.Equal([(0, 1, -1), (1, 3, 2)], matcher.Partition("abcd"));
        Assert.Equal([(0, 2, 1), (2, 3, 3), (5, 1, -1), (6, 1, 4)], matcher.Partition("ababxyd"));
        Assert.Empty(matcher.Partition(""));
    }

    [Fact]
    public void Encode_ByteMissingFromTheVocabulary_IsLostLikeInLlamaCpp()
    {
        using GgufFile file = GgufFile.Read(new GgufBuilder().String("tokenizer.ggml.model", "gpt2").String("tokenizer.ggml.pre", "gpt-2")
            .Strings("tokenizer.ggml.tokens", "a", "b", "ab").Strings("tokenizer.ggml.merges", "a b", "a c").Build());
        Assert.Equal([2, 0, 1], TokenizerLoader.Load(file.Metadata).Encode("abcaczb"));
    }

    [Fact]
    public void IsEndOfGeneration_TextsThatFilesDoNotName_AreFound()
    {
        string[] tokens = ["x", "<|im_end|>", "<|eot_id|>", "</s>", "<|end|>", "<|return|>", "<|call|>", "<|fim_pad|>", "<|file_sep|>", "y"];
        using GgufFile file = GgufFile.Read(new GgufBuilder().String("tokenizer.ggml.model", "gpt2").String("tokenizer.ggml.pre", "qwen2")
            .Strings("tokenizer.ggml.tokens", tokens).Strings("tokenizer.ggml.merges").UInt32("tokenizer.ggml.eot_token_id", 9)
            .UInt32("tokenizer.ggml.eos_token_id", uint.MaxValue).Build());
        ITokenizer tokenizer = TokenizerLoader.Load(file.Metadata);
        Assert.Equal([1, 2, 3, 5, 6, 7, 8, 9], Enumerable.Range(0, 10).Where(tokenizer.IsEndOfGeneration));
    }

    [Theory]
    [InlineData("a")]
    [InlineData(" ")]
    [InlineData("\n")]
    [InlineData("'")]
    [InlineData("1")]
    [InlineData("hello ")]
    [InlineData("'s'")]
    public void Encode_OneMebibyteOfTheSame_StaysNearLinear(string unit)
    {
        ITokenizer tokenizer = Load("llama-bpe");
        tokenizer.Encode(string.Concat(Enumerable.Repeat(unit, 1000)));
        long start = TimeProvider.System.GetTimestamp();
        Assert.NotEmpty(tokenizer.Encode(string.Concat(Enumerable.Repeat(unit, (1 << 20) / unit.Length))));

        // The design's bound is 2 s; ten times that guards against a quadratic loop on any machine.
        Assert.True(TimeProvider.System.GetElapsedTime(start) < TimeSpan.FromSeconds(20));
    }

    [Fact]
    public void Load_TokenTwiceOrTablesOfOtherLength_IsRejected()
    {
        AssertRejected("tokenizer.ggml.tokens", TinyBpe.Vocabulary("qwen2").Without("tokenizer.ggml.token_type").Without("tokenizer.ggml.tokens").Strings("tokenizer.ggml.tokens", "a", "b", "a"));
        AssertRejected("tokenizer.ggml.tokens", TinyBpe.Vocabulary("qwen2").Without("tokenizer.ggml.tokens").Strings("tokenizer.ggml.tokens"));
        AssertRejected("tokenizer.ggml.token_type", TinyBpe.Vocabulary("qwen2").Without("tokenizer.ggml.token_type").Int32s("tokenizer.ggml.token_type", 1, 2));
        AssertRejected("tokenizer.ggml.merges", TinyBpe.Vocabulary("qwen2").Without("tokenizer.ggml.merges"));
        AssertRejected("tokenizer.ggml.scores", TinyModel.Metadata().WithTokenizer().Without("tokenizer.ggml.scores"));
        AssertRejected("tokenizer.ggml.scores", TinyModel.Metadata().WithTokenizer().Without("tokenizer.ggml.scores").Singles("tokenizer.ggml.scores", 1));
        float[] scores = new float[TinyModel.Vocabulary];
        scores[9] = float.NaN;
        AssertRejected("tokenizer.ggml.scores", TinyModel.Metadata().WithTokenizer().Without("tokenizer.ggml.scores").Singles("tokenizer.ggml.scores", scores));

        static void AssertRejected(string field, GgufBuilder builder)
        {
            using GgufFile file = GgufFile.Read(builder.Build());
            Assert.Equal(field, Assert.Throws<GgufFormatException>(() => TokenizerLoader.Load(file.Metadata)).Field);
        }
    }

    private static ITokenizer Load(string preTokenizer)
    {
        using GgufFile file = GgufFile.Read(TinyBpe.Vocabulary(preTokenizer).Build());
        return TokenizerLoader.Load(file.Metadata);
    }
}
