using System.Text;
using System.Text.Json;
using E2LLM.Execution;
using E2LLM.Generation;
using E2LLM.Sampling;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Generation;

public sealed class TextGeneratorTests : IDisposable
{
    private static readonly GeneratorOptions OneThread = new() { Executor = new ExecutorOptions { ThreadCount = 1, KvElementType = KvElementType.F32 } };
    private readonly TextGenerator _generator = TextGenerator.Load(TestModel.OwnModel("f32"), OneThread);

    public void Dispose() => _generator.Dispose();

    [Fact]
    public async Task GenerateAsync_GoldenPrompts_GivesGoldenText()
    {
        JsonElement golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(Repository.PathOf("samples/models"), "golden.json"))).RootElement;
        int whole = 0;
        foreach (JsonElement item in golden.GetProperty("cases").EnumerateArray())
        {
            if (item.GetProperty("safe_tokens").GetInt32() < item.GetProperty("ids").GetArrayLength())
            {
                continue;
            }

            var text = new StringBuilder();
            await foreach (GeneratedToken token in _generator.GenerateAsync(
                item.GetProperty("prompt").GetString()!, new GenerationOptions { MaxTokenCount = item.GetProperty("max_tokens").GetInt32() }))
            {
                text.Append(token.Text);
            }

            Assert.Equal(item.GetProperty("text").GetString(), text.ToString());
            whole++;
        }

        Assert.True(whole >= 3);
    }

    [Fact]
    public async Task GenerateAsync_SameSeed_RepeatsAndOtherSeedDoesNot()
    {
        List<int> first = await Ids("Once upon a time", Sampled(5)), second = await Ids("Once upon a time", Sampled(5)), other = await Ids("Once upon a time", Sampled(6));
        Assert.Equal(first, second);
        Assert.NotEqual(first, other);
    }

    [Fact]
    public async Task GenerateAsync_AtOnce_GivesWhatOneAfterAnotherGives()
    {
        string[] prompts = ["Once upon a time", "The dog", "One day"];
        var alone = new List<List<int>>();
        foreach (string prompt in prompts)
        {
            alone.Add(await Ids(prompt, Sampled(1)));
        }

        List<int>[] together = await Task.WhenAll(prompts.Select(prompt => Ids(prompt, Sampled(1))));
        Assert.Equal(alone, together);
    }

    [Fact]
    public async Task GenerateAsync_MovedToMiddle_GoesOnWithTheSameTokens()
    {
        // Position decides the random number, so a generation may be taken up anywhere.
        IReadOnlyList<int> prompt = _generator.Tokenizer.Encode("Once upon a time");
        List<int> whole = await Ids(prompt, Sampled(3));
        List<int> rest = await Ids([.. prompt, .. whole.Take(7)], Sampled(3) with { MaxTokenCount = whole.Count - 7 });
        Assert.Equal(whole.Skip(7), rest);
    }

    [Fact]
    public async Task GenerateAsync_CancelledMidway_Throws()
    {
        using var stop = new CancellationTokenSource();
        int seen = 0;
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (GeneratedToken _ in _generator.GenerateAsync("Once upon a time", new GenerationOptions { MaxTokenCount = 400 }, stop.Token))
            {
                if (++seen == 5)
                {
                    await stop.CancelAsync();
                }
            }
        });
        Assert.InRange(seen, 5, 399);
        Assert.NotEmpty(await Ids("The dog", Sampled(1)));
    }

    [Fact]
    public async Task GenerateAsync_EnumerationLeft_FreesTheGenerator()
    {
        await foreach (GeneratedToken _ in _generator.GenerateAsync("Once upon a time", new GenerationOptions { MaxTokenCount = 400 }))
        {
            break;
        }

        Assert.NotEmpty(await Ids("The dog", Sampled(1)));
    }

    [Fact]
    public async Task GenerateAsync_ContextFull_EndsThere()
    {
        int[] prompt = [1, .. Enumerable.Repeat(492, _generator.Shape.ContextLength - 3)];
        var tokens = new List<GeneratedToken>();
        await foreach (GeneratedToken token in _generator.GenerateAsync(prompt, new GenerationOptions { MaxTokenCount = 100 }))
        {
            tokens.Add(token);
        }

        Assert.Equal(FinishReason.ContextFull, tokens[^1].Finish);
        Assert.Equal(_generator.Shape.ContextLength - 1, tokens[^1].Position);
    }

    [Fact]
    public async Task Dispose_WhileGenerating_EndsTheEnumeration()
    {
        TextGenerator own = TextGenerator.Load(TestModel.OwnModel("q8_0"), OneThread);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (GeneratedToken _ in own.GenerateAsync("Once upon a time", new GenerationOptions { MaxTokenCount = 500, Sampling = new SamplingOptions { Temperature = 3f } }))
            {
                own.Dispose();
            }
        });
        Assert.Throws<ObjectDisposedException>(() => own.GenerateAsync("x"));
    }

    [Fact]
    public void GenerateAsync_BadArguments_ThrowsAtOnce()
    {
        Assert.Throws<ArgumentException>(() => _generator.GenerateAsync([]));
        Assert.Throws<ArgumentException>(() => _generator.GenerateAsync(new int[_generator.Shape.ContextLength]));
        Assert.Throws<ArgumentOutOfRangeException>(() => _generator.GenerateAsync("x", new GenerationOptions { MaxTokenCount = 0 }));
    }

    private static GenerationOptions Sampled(ulong seed) => new()
    {
        MaxTokenCount = 24, Sampling = new SamplingOptions { Temperature = 1f, TopK = 50, Seed = seed },
    };

    private Task<List<int>> Ids(string prompt, GenerationOptions options) => Ids(_generator.Tokenizer.Encode(prompt), options);

    private async Task<List<int>> Ids(IReadOnlyList<int> prompt, GenerationOptions options)
    {
        var ids = new List<int>();
        await foreach (GeneratedToken token in _generator.GenerateAsync(prompt, options))
        {
            ids.Add(token.Id);
        }

        return ids;
    }
}
