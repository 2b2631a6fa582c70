using E2LLM.Execution;
using E2LLM.Generation;
using E2LLM.Sampling;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Generation;

/// <summary>Texts that run beside each other, and texts that go on where earlier ones ended. The judge is always the same text generated alone and afresh.</summary>
public sealed class SideBySideTests : IDisposable
{
    private readonly TestModel _model = new(TestModel.OwnModel("q8_0"));

    public void Dispose() => _model.Dispose();

    [Fact]
    public async Task GenerateAsync_SlowConsumer_HoldsNobodyUpAndLosesNothing()
    {
        using TextGenerator generator = Load(new GeneratorOptions { TokenBufferCount = 3 });
        int[] slow = Prompt(20, 1), quick = Prompt(90, 2);
        await using IAsyncEnumerator<GeneratedToken> resting = generator.GenerateAsync(slow, Greedy(60)).GetAsyncEnumerator();
        Assert.True(await resting.MoveNextAsync());
        Assert.Equal(_model.Greedy(quick, 40, Stops(generator)), await Ids(generator, quick, 40));
        List<int> ids = [resting.Current.Id];
        while (await resting.MoveNextAsync())
        {
            ids.Add(resting.Current.Id);
        }

        Assert.Equal(_model.Greedy(slow, 60, Stops(generator)), ids);
    }

    [Theory]
    [InlineData(1, 512, 8), InlineData(2, 7, 8), InlineData(1, 1, 8), InlineData(2, 64, 3)]
    public async Task GenerateAsync_ManyAtOnce_GivesEachWhatItGivesAlone(int threads, int chunk, int places)
    {
        using TextGenerator generator = Load(new GeneratorOptions { MaxSequenceCount = places }, new ExecutorOptions { ThreadCount = threads, MaxBatchTokenCount = chunk, KvElementType = KvElementType.F32 });
        int[][] prompts = [.. new[] { 1, 63, 64, 65, 129, 20, 5, 100, 31, 2, 77, 64 }.Select((length, i) => Prompt(length, i))];
        List<int>[] together = await Task.WhenAll(prompts.Select((prompt, i) => Ids(generator, prompt, 5 + (i * 3))));
        for (int i = 0; i < prompts.Length; i++)
        {
            Assert.Equal(_model.Greedy(prompts[i], 5 + (i * 3), Stops(generator)), together[i]);
        }
    }

    [Theory]
    [InlineData(1, 0), InlineData(63, 0), InlineData(64, 0), InlineData(65, 1), InlineData(128, 1), InlineData(129, 2)]
    public async Task GenerateAsync_SamePromptAgain_ReadsOnlyWhatNoWholePageHolds(int length, int pages)
    {
        using TextGenerator generator = Load(new GeneratorOptions());
        int[] prompt = Prompt(length, 3);
        (List<int> first, int none) = await Run(generator, prompt, 12);
        (List<int> second, int reused) = await Run(generator, prompt, 12);
        Assert.Equal((0, 64 * pages), (none, reused));
        Assert.Equal(first, second);
        Assert.Equal(_model.Greedy(prompt, 12, Stops(generator)), second);
    }

    [Fact]
    public async Task GenerateAsync_NextTurnOfAConversation_FindsPromptAndAnswerOfTheOneBefore()
    {
        using TextGenerator generator = Load(new GeneratorOptions()), fresh = Load(new GeneratorOptions { KeptKvBlockCount = 0 });
        List<int> text = [.. Prompt(50, 4)];
        var options = new GenerationOptions { MaxTokenCount = 90, Sampling = new SamplingOptions { Temperature = 1f, TopK = 40, Seed = 9 } };
        for (int turn = 0; turn < 3; turn++)
        {
            (List<int> answer, int reused) = await Run(generator, [.. text], options);
            (List<int> expected, int nothing) = await Run(fresh, [.. text], options);
            Assert.Equal(expected, answer);

            // The last token of an answer was never read, nor was the question after it.
            Assert.Equal((turn == 0 ? 0 : (text.Count - 10 - 1) / 64 * 64, 0), (reused, nothing));
            text = [.. text, .. answer, .. Prompt(10, 100 + turn)];
        }
    }

    [Fact]
    public async Task GenerateAsync_CacheTooSmallToKeepAll_ForgetsTheOldestAndStaysRight()
    {
        using TextGenerator generator = Load(new GeneratorOptions { MaxSequenceCount = 3 }, new ExecutorOptions { ThreadCount = 1, KvBlockCount = 5, KvElementType = KvElementType.F32 });
        for (int round = 0; round < 2; round++)
        {
            int[][] prompts = [.. Enumerable.Range(0, 6).Select(i => Prompt(70 + (i * 20), 10 + i))];
            List<int>[] together = await Task.WhenAll(prompts.Select(prompt => Ids(generator, prompt, 20)));
            for (int i = 0; i < prompts.Length; i++)
            {
                Assert.Equal(_model.Greedy(prompts[i], 20, Stops(generator)), together[i]);
            }
        }

        Assert.Equal(0, (await Run(generator, Prompt(70, 10), 5)).Reused);
        Assert.Equal(64, (await Run(generator, Prompt(70, 10), 5)).Reused);
        ArgumentException tooLong = Assert.Throws<ArgumentException>(() => generator.GenerateAsync(Prompt(300, 1), Greedy(21)));
        Assert.Contains("needs 6 KV blocks; there are 5", tooLong.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task GenerateAsync_CancelledAnywhere_LeavesTheOthersAlone()
    {
        using TextGenerator generator = Load(new GeneratorOptions { MaxSequenceCount = 4, TokenBufferCount = 2 });
        int[] steady = Prompt(40, 5);
        List<int> expected = _model.Greedy(steady, 30, Stops(generator));
        var random = new Random(1);
        for (int round = 0; round < 6; round++)
        {
            Task<List<int>> kept = Ids(generator, steady, 30);
            Task[] cancelled = [.. Enumerable.Range(0, 8).Select(i => CancelAfter(generator, Prompt(10 + (i * 30), 20 + i), random.Next(4), i % 2 == 0))];
            await Task.WhenAll(cancelled);
            Assert.Equal(expected, await kept);
        }
    }

    private static async Task CancelAfter(TextGenerator generator, int[] prompt, int tokens, bool byToken)
    {
        using var stop = new CancellationTokenSource();
        try
        {
            if (tokens == 0)
            {
                stop.CancelAfter(1);
            }

            await foreach (GeneratedToken _ in generator.GenerateAsync(prompt, Greedy(200), stop.Token))
            {
                if (tokens-- <= 1)
                {
                    if (!byToken)
                    {
                        return;
                    }

                    await stop.CancelAsync();
                }
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // As asked for.
        }
    }

    private static TextGenerator Load(GeneratorOptions options, ExecutorOptions? executor = null) => TextGenerator.Load(
        TestModel.OwnModel("q8_0"), options with { Executor = executor ?? new ExecutorOptions { ThreadCount = 1, KvElementType = KvElementType.F32 } });

    private static int[] Prompt(int length, int seed) => [1, .. Enumerable.Range(1, length - 1).Select(i => 300 + (((i * 37) + (seed * 101)) % 200))];

    private static int[] Stops(TextGenerator generator) => [.. Enumerable.Range(0, generator.Shape.VocabularySize).Where(generator.Tokenizer.IsEndOfGeneration)];

    private static GenerationOptions Greedy(int count) => new() { MaxTokenCount = count };

    private static async Task<List<int>> Ids(TextGenerator generator, int[] prompt, int count) => (await Run(generator, prompt, count)).Ids;

    private static Task<(List<int> Ids, int Reused)> Run(TextGenerator generator, int[] prompt, int count) => Run(generator, prompt, Greedy(count));

    private static async Task<(List<int> Ids, int Reused)> Run(TextGenerator generator, int[] prompt, GenerationOptions options)
    {
        var ids = new List<int>();
        int reused = 0;
        await foreach (GeneratedToken token in generator.GenerateAsync(prompt, options))
        {
            ids.Add(token.Id);
            reused = token.ReusedPromptTokenCount;
        }

        return (ids, reused);
    }
}
