using System.Text.Json;
using E2LLM.Gguf;
using E2LLM.Tests.Support;
using E2LLM.Tokenization;

namespace E2LLM.Tests.Tokenization;

public class SentencePieceTokenizerTests
{
    private static readonly Lazy<ITokenizer> OwnTokenizer = new(() => LoadModel(Repository.PathOf("samples/models/tinytales-3.9m-q8_0.gguf")));

    public static TheoryData<string> AwkwardTexts =>
    [
        "", " ", "  ", "a", "\n", "\t\r\n", "Hello, world!", "  two  leading", "trailing  ", "\0", "naïve café", "日本語のテキスト", "🦙🦙 llamas",
        "<s>not special</s>", "<0x41>", "e\u0301\u0302", "\uFFFD", "שלום عالم",
    ];

    [Fact]
    public void Encode_GoldenTexts_EqualSentencePiece()
    {
        using JsonDocument golden = JsonDocument.Parse(File.ReadAllText(Repository.PathOf("samples/models/tokenizer_golden.json")));
        Assert.NotEmpty(golden.RootElement.EnumerateArray());
        foreach (JsonElement example in golden.RootElement.EnumerateArray())
        {
            string text = example.GetProperty("text").GetString()!;
            int[] ids = Ids(example.GetProperty("ids"));
            Assert.Equal(ids, OwnTokenizer.Value.Encode(text, addBos: false));
            Assert.Equal(example.GetProperty("decoded").GetString(), OwnTokenizer.Value.Decode(ids));
        }
    }

    [Fact]
    public void Encode_GoldenPrompts_StartWithBosAndEqual()
    {
        AssertPrompts(OwnTokenizer.Value, Repository.PathOf("samples/models/golden.json"));
        if (SharedData.Find("models/stories260K/stories260K-f32.gguf") is string stories)
        {
            AssertPrompts(LoadModel(stories), SharedData.Find("models/stories260K/golden.json")!);
        }
    }

    [Fact]
    public void Encode_LlamaVocabulary_EqualsItsOutFile()
    {
        if (SharedData.Find("models/vocab/ggml-vocab-llama-spm.gguf") is string path)
        {
            OutFile.AssertEqual(LoadModel(path), path);
        }
        else
        {
            Console.WriteLine("skipped: no ../shared");
        }
    }

    [Theory]
    [MemberData(nameof(AwkwardTexts))]
    public void Decode_OfEncode_GivesTheTextBack(string text)
    {
        Assert.Equal(text, OwnTokenizer.Value.Decode(OwnTokenizer.Value.Encode(text)));
        Assert.Equal(text, OwnTokenizer.Value.Decode(OwnTokenizer.Value.Encode(text, addBos: false)));
    }

    [Fact]
    public void Encode_LoneSurrogates_BecomeReplacementCharacters()
    {
        ITokenizer tokenizer = OwnTokenizer.Value;
        Assert.Equal(tokenizer.Encode("a\uFFFDb\uFFFD"), tokenizer.Encode("a\uD800b\uDC00"));
    }

    [Fact]
    public void Encode_SpecialTextParsed_GivesControlTokens()
    {
        ITokenizer tokenizer = OwnTokenizer.Value;
        IReadOnlyList<int> a = tokenizer.Encode("a", addBos: false);
        Assert.Equal([1, 1, .. a, 2], tokenizer.Encode("<s>a</s>", addBos: true, parseSpecial: true));
        Assert.DoesNotContain(tokenizer.Encode("<s>a</s>", addBos: false), id => id is 1 or 2);
        Assert.Equal(string.Empty, tokenizer.Decode([1, 2, 0]));
    }

    [Fact]
    public void Encode_NoSpacePrefix_StartsWithTheTextItself()
    {
        using GgufFile file = GgufFile.Read(TinyModel.Metadata().WithTokenizer().Bool("tokenizer.ggml.add_space_prefix", 0)
            .Bool("tokenizer.ggml.add_bos_token", 0).Build());
        ITokenizer tokenizer = TokenizerLoader.Load(file.Metadata);
        Assert.False(tokenizer.AddsBos);
        Assert.Equal([260, 261], tokenizer.Encode("a a"));
        Assert.Equal(" a", tokenizer.Decode([261]));
    }

    [Fact]
    public void Encode_HigherScoreFirst_LeftmostOfEquals()
    {
        string[] tokens = ["<unk>", "<s>", "</s>", "a", "b", "ab", "ba", "aa"];
        using GgufFile file = GgufFile.Read(new GgufBuilder()
            .String("tokenizer.ggml.model", "llama").Strings("tokenizer.ggml.tokens", tokens)
            .Singles("tokenizer.ggml.scores", 0, 0, 0, -9, -9, -2, -1, 0.5f)
            .Int32s("tokenizer.ggml.token_type", 2, 3, 3, 1, 1, 1, 1, 1)
            .Bool("tokenizer.ggml.add_space_prefix", 0).Build());
        ITokenizer tokenizer = TokenizerLoader.Load(file.Metadata);
        Assert.Equal([3, 6], tokenizer.Encode("aba", addBos: false)); // "ba" (-1) before "ab" (-2)
        Assert.Equal([7, 3], tokenizer.Encode("aaa", addBos: false)); // both "aa" score 0.5: the left one
        Assert.Equal([7, 6], tokenizer.Encode("aaba", addBos: false)); // 0.5 before -1
        Assert.Equal([0, 0, 3], tokenizer.Encode("\u00E9a", addBos: false)); // no byte tokens: one unknown per byte
    }

    [Fact]
    public void Append_BytesOfOneCharacter_ComeOutWhole()
    {
        ITokenizer tokenizer = OwnTokenizer.Value;
        IReadOnlyList<int> ids = tokenizer.Encode("🦙", addBos: false);
        ITokenDecoder decoder = tokenizer.CreateDecoder();
        var parts = ids.Select(decoder.Append).ToList();
        Assert.Equal("🦙", string.Concat(parts) + decoder.Flush());
        Assert.All(parts, part => Assert.True(part is "" or "🦙"));

        foreach (int id in ids.Take(ids.Count - 1))
        {
            Assert.Equal(string.Empty, decoder.Append(id));
        }

        Assert.Equal("\uFFFD", decoder.Flush());
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(2048)]
    [InlineData(int.MaxValue)]
    [InlineData(int.MinValue)]
    public void Decode_IdOutsideTheVocabulary_Throws(int id)
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => OwnTokenizer.Value.Decode([5, id]));
        Assert.Throws<ArgumentOutOfRangeException>(() => OwnTokenizer.Value.CreateDecoder().Append(id));
        Assert.False(OwnTokenizer.Value.IsEndOfGeneration(id));
    }

    [Fact]
    public void Encode_OneMebibyteOfOneLetter_GrowsAlmostLinearly()
    {
        ITokenizer tokenizer = OwnTokenizer.Value;
        tokenizer.Encode(new string('a', 1 << 14));
        TimeSpan small = Time(() => tokenizer.Encode(new string('a', 1 << 17)));
        TimeSpan large = Time(() => Assert.NotEmpty(tokenizer.Encode(new string('a', 1 << 20))));

        // A quadratic merge would take 64 times as long for 8 times the text, and hours in all; the bounds are generous.
        Assert.True(large < 32 * small + TimeSpan.FromSeconds(1), $"{small} for 128 KiB, {large} for 1 MiB");
        Assert.True(large < TimeSpan.FromSeconds(20), $"{large} for 1 MiB");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Encode_RandomText_EqualsAPlainLoopOverTheWholeText(bool withPieceAcrossSpace)
    {
        // "b▁a" makes merges cross from one word into the next space, so that words may not be merged one at a time.
        string[] pieces = ["<unk>", "<s>", "</s>", "\u2581", "a", "b", "\u2581a", "ab", "ba", "\u2581\u2581", "aa", "\u2581ab", withPieceAcrossSpace ? "b\u2581" : "bb", "b\u2581a"];
        float[] scores = [0, 0, 0, -20, -21, -22, -3, -4, -2.5f, -1, -6, -5, -0.5f, -7];
        int count = withPieceAcrossSpace ? pieces.Length : pieces.Length - 1;
        using GgufFile file = GgufFile.Read(new GgufBuilder().String("tokenizer.ggml.model", "llama").Strings("tokenizer.ggml.tokens", pieces[..count])
            .Singles("tokenizer.ggml.scores", scores[..count]).Int32s("tokenizer.ggml.token_type", [2, 3, 3, .. Enumerable.Repeat(1, count - 3)]).Build());
        ITokenizer tokenizer = TokenizerLoader.Load(file.Metadata);
        var random = new Random(11);
        for (int i = 0; i < 3_000; i++)
        {
            string text = string.Concat(Enumerable.Range(0, random.Next(1, 14)).Select(_ => " ab"[random.Next(3)]));
            List<string> symbols = [.. ("\u2581" + text.Replace(' ', '\u2581')).Select(letter => letter.ToString())];
            while (true)
            {
                int best = -1;
                for (int at = 0; at + 1 < symbols.Count; at++)
                {
                    if (Score(at) is float score && (best < 0 || score > Score(best)))
                    {
                        best = at;
                    }
                }

                if (best < 0)
                {
                    break;
                }

                symbols[best] += symbols[best + 1];
                symbols.RemoveAt(best + 1);
            }

            Assert.Equal(symbols.Select(symbol => Array.IndexOf(pieces, symbol)), tokenizer.Encode(text, addBos: false));

            float? Score(int at) => Array.IndexOf(pieces, symbols[at] + symbols[at + 1], 3, count - 3) is >= 0 and int id ? scores[id] : null;
        }
    }

    private static TimeSpan Time(Action action)
    {
        long start = TimeProvider.System.GetTimestamp();
        action();
        return TimeProvider.System.GetElapsedTime(start);
    }

    private static ITokenizer LoadModel(string path)
    {
        using GgufFile file = GgufFile.Open(path);
        return TokenizerLoader.Load(file.Metadata);
    }

    private static void AssertPrompts(ITokenizer tokenizer, string goldenPath)
    {
        using JsonDocument golden = JsonDocument.Parse(File.ReadAllText(goldenPath));
        int checkedCount = 0;
        foreach (JsonElement example in golden.RootElement.GetProperty("cases").EnumerateArray())
        {
            Assert.Equal(Ids(example.GetProperty("prompt_ids")), tokenizer.Encode(example.GetProperty("prompt").GetString()!));
            checkedCount++;
        }

        Assert.True(checkedCount > 3);
    }

    private static int[] Ids(JsonElement array) => [.. array.EnumerateArray().Select(id => id.GetInt32())];
}
