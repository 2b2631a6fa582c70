using System.Text;
using E2LLM.Generation;
using E2LLM.Gguf;
using E2LLM.Sampling;
using E2LLM.Tests.Support;
using E2LLM.Tokenization;

namespace E2LLM.Tests.Generation;

public sealed class TextContinuationTests
{
    // Ids 3 to 258 are the 256 bytes, 1 begins and 2 ends a text.
    private const int FirstByte = 3, End = 2;
    private static readonly ITokenizer Bytes = LoadTokenizer();

    [Fact]
    public void Append_StopCutAnywhere_EndsTheTextBeforeIt()
    {
        // Every character of two to four bytes is cut between tokens, and so is the stop sequence.
        (string text, FinishReason? finish) = Run("aé🙂b🙂é-rest", ["🙂é"]);
        Assert.Equal(("aé🙂b", FinishReason.StopSequence), (text, finish));
    }

    [Fact]
    public void Append_BeginningOfStopThatIsNone_IsDeliveredInTheEnd()
    {
        Assert.Equal(("one sto", FinishReason.EndOfGeneration), Run("one sto", ["stop"]));
        Assert.Equal(("ststop"[..2], FinishReason.StopSequence), Run("ststop", ["stop"]));
    }

    [Fact]
    public void Append_HalfACharacterAtTheEnd_IsReplaced()
    {
        var continuation = new TextContinuation(Bytes, [1], new GenerationOptions { MaxTokenCount = 3, StopSequences = ["\uFFFDx"] }, 100);
        string text = "";
        foreach (byte b in "a🙂"u8[..3])
        {
            text += continuation.Append(new TokenChoice(FirstByte + b)).Text;
        }

        Assert.Equal("a\uFFFD", text);
        Assert.Equal(FinishReason.MaxTokenCount, continuation.Finish);
        Assert.Throws<InvalidOperationException>(() => continuation.Append(new TokenChoice(FirstByte)));
    }

    [Fact]
    public void Append_ContextFull_Ends()
    {
        var continuation = new TextContinuation(Bytes, [1, FirstByte], new GenerationOptions(), 4);
        Assert.Null(continuation.Append(new TokenChoice(FirstByte + 'a')).Finish);
        GeneratedToken last = continuation.Append(new TokenChoice(FirstByte + 'b'));
        Assert.Equal((FinishReason.ContextFull, 3), (last.Finish, last.Position));
    }

    [Fact]
    public void Append_PromptEndsInsideACharacter_CompletesIt()
    {
        byte[] smile = Encoding.UTF8.GetBytes("🙂");
        var continuation = new TextContinuation(Bytes, [1, FirstByte + smile[0], FirstByte + smile[1]], new GenerationOptions(), 100);
        Assert.Equal("", continuation.Append(new TokenChoice(FirstByte + smile[2])).Text);
        Assert.Equal("🙂", continuation.Append(new TokenChoice(FirstByte + smile[3])).Text);
    }

    [Fact]
    public void Append_LogProbabilities_AreHandedOn()
    {
        var choice = new TokenChoice(FirstByte, -0.5f) { Top = [new TokenLogProbability(9, -0.1f)] };
        GeneratedToken token = new TextContinuation(Bytes, [1], new GenerationOptions(), 100).Append(choice);
        Assert.Equal((-0.5f, 9), (token.LogProbability, Assert.Single(token.TopLogProbabilities).Id));
    }

    [Fact]
    public void Filter_AnyPieces_GiveWhatTheWholeTextGives()
    {
        var random = new Random(3);
        for (int round = 0; round < 5000; round++)
        {
            // Two letters, so that stop sequences overlap with the text and each other all the time.
            string text = Word(random, 30);
            string[] stops = [.. Enumerable.Range(0, random.Next(1, 4)).Select(_ => Word(random, 5)).Where(stop => stop.Length > 0)];
            var filter = new StopSequenceFilter(stops);
            var passed = new StringBuilder();
            for (int at = 0, length; at < text.Length; at += length)
            {
                length = Math.Min(random.Next(0, 6), text.Length - at);
                passed.Append(filter.Append(text.Substring(at, length)));
            }

            bool stopped = filter.IsStopped;
            passed.Append(filter.Flush());
            Assert.Equal(Expected(text, stops), (passed.ToString(), stopped));
        }
    }

    [Fact]
    public void Validate_StopSequences_AreChecked()
    {
        Assert.ThrowsAny<ArgumentException>(new GenerationOptions { StopSequences = [""] }.Validate);
        Assert.ThrowsAny<ArgumentException>(new GenerationOptions { StopSequences = [null!] }.Validate);
        Assert.ThrowsAny<ArgumentException>(new GenerationOptions { StopSequences = [new string('x', 1025)] }.Validate);
        Assert.ThrowsAny<ArgumentException>(new GenerationOptions { StopSequences = [.. Enumerable.Repeat("x", 65)] }.Validate);
    }

    /// <summary>Letter by letter: as soon as the text ends with a stop sequence, the longest of those is cut off.</summary>
    private static (string Text, bool Stopped) Expected(string text, string[] stops)
    {
        for (int end = 0; end <= text.Length; end++)
        {
            string? stop = stops.Where(candidate => text[..end].EndsWith(candidate, StringComparison.Ordinal)).MaxBy(candidate => candidate.Length);
            if (stop is not null)
            {
                return (text[..(end - stop.Length)], true);
            }
        }

        return (text, false);
    }

    private static string Word(Random random, int length) => string.Concat(Enumerable.Range(0, random.Next(length + 1)).Select(_ => random.Next(2) == 0 ? 'a' : 'b'));

    private static (string Text, FinishReason? Finish) Run(string text, string[] stops)
    {
        var continuation = new TextContinuation(Bytes, [1], new GenerationOptions { MaxTokenCount = 1000, StopSequences = stops }, 1000);
        string delivered = "";
        foreach (int id in Encoding.UTF8.GetBytes(text).Select(b => FirstByte + b).Append(End))
        {
            delivered += continuation.Append(new TokenChoice(id)).Text;
            if (continuation.Finish is not null)
            {
                break;
            }
        }

        return (delivered, continuation.Finish);
    }

    private static ITokenizer LoadTokenizer()
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, TinyModel.Whole().Build());
            using GgufFile file = GgufFile.Open(path);
            return TokenizerLoader.Load(file.Metadata);
        }
        finally
        {
            File.Delete(path);
        }
    }
}
