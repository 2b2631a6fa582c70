using E2LLM.Scheduling;

namespace E2LLM.Tests.Scheduling;

public sealed class StepSchedulerTests
{
    [Fact]
    public void TryNext_LongPrompt_GoesInChunksAndSamplesAfterTheLast()
    {
        var scheduler = new StepScheduler(stageCount: 2, maxStepTokenCount: 16);
        var sequence = new ScheduledSequence(Enumerable.Range(0, 40), 0);
        scheduler.Add(sequence);
        var items = new List<ScheduledItem>();
        Assert.True(scheduler.TryNext(items));
        Assert.Equal([new ScheduledItem(sequence, 0, 16, false)], items);
        Assert.True(scheduler.TryNext(items));
        Assert.Equal([new ScheduledItem(sequence, 16, 16, false)], items);
        Assert.True(scheduler.TryNext(items));
        Assert.Equal([new ScheduledItem(sequence, 32, 8, true)], items);
        Assert.False(scheduler.TryNext(items));
        Assert.Equal(3, scheduler.StepsInFlight);
    }

    [Fact]
    public void TryNext_MoreStepsThanStages_WaitsUntilOneIsDone()
    {
        var scheduler = new StepScheduler(stageCount: 2, maxStepTokenCount: 4);
        scheduler.Add(new ScheduledSequence(Enumerable.Range(0, 100), 0));
        var items = new List<ScheduledItem>();
        Assert.Equal(3, Enumerable.Range(0, 10).Count(_ => scheduler.TryNext(items)));
        scheduler.StepDone();
        Assert.True(scheduler.TryNext(items));
        Assert.False(scheduler.TryNext(items));
    }

    [Theory]
    [InlineData(1, 8, 8), InlineData(2, 8, 4), InlineData(3, 8, 3), InlineData(4, 2, 1)]
    public void TryNext_DecodingSequences_AreSpreadOverTheStages(int stages, int sequences, int batch)
    {
        StepScheduler scheduler = Decoding(stages, sequences, out _);
        var items = new List<ScheduledItem>();
        Assert.True(scheduler.TryNext(items));
        Assert.Equal(batch, items.Count);
        Assert.All(items, item => Assert.Equal((1, true), (item.TokenCount, item.Samples)));
    }

    [Fact]
    public void TryNext_Decoding_TakesThoseLongestReadyFirstAndStarvesNone()
    {
        StepScheduler scheduler = Decoding(2, 7, out List<ScheduledSequence> all);
        var items = new List<ScheduledItem>();
        var inFlight = new Queue<List<ScheduledItem>>();
        var turns = all.ToDictionary(sequence => sequence, _ => 0);
        for (int step = 0; step < 700; step++)
        {
            while (scheduler.TryNext(items))
            {
                inFlight.Enqueue([.. items]);
            }

            scheduler.StepDone();
            foreach (ScheduledItem item in inFlight.Dequeue())
            {
                turns[item.Sequence]++;
                item.Sequence.Append(1);
                scheduler.Ready(item.Sequence);
            }
        }

        Assert.InRange(turns.Values.Max() - turns.Values.Min(), 0, 1);
    }

    [Fact]
    public void TryNext_PromptBesideDecoding_SharesTheStepAndNeitherStarves()
    {
        StepScheduler scheduler = Decoding(1, 3, out List<ScheduledSequence> decoding);
        var prompt = new ScheduledSequence(Enumerable.Range(0, 20), 0);
        scheduler.Add(prompt);
        var items = new List<ScheduledItem>();
        Assert.True(scheduler.TryNext(items));
        Assert.Equal([.. decoding, prompt], items.Select(item => item.Sequence));
        Assert.Equal(13, items[^1].TokenCount);
    }

    /// <summary>Prompts keep one step more under way than there are stages; decoding sequences must not wait until all of them are through.</summary>
    [Theory]
    [InlineData(1, 16), InlineData(2, 16), InlineData(3, 4), InlineData(2, 2), InlineData(2, 1)]
    public void TryNext_EndlessPromptsBesideDecoding_NeitherStarves(int stages, int stepTokens)
    {
        var scheduler = new StepScheduler(stages, stepTokens);
        List<ScheduledSequence> decoding = [.. Enumerable.Range(0, 40).Select(_ => new ScheduledSequence([1, 2, 3], 2))];
        decoding.ForEach(scheduler.Add);
        var items = new List<ScheduledItem>();
        var inFlight = new Queue<List<ScheduledItem>>();
        int prompts = 0;
        int[] turns = new int[decoding.Count];
        for (int step = 0; step < 2000; step++)
        {
            if (step % 50 == 0)
            {
                // As much as two thirds of the steps could take, so that prompts never end.
                scheduler.Add(new ScheduledSequence(Enumerable.Range(0, 33 * stepTokens), 0));
            }

            while (scheduler.TryNext(items))
            {
                inFlight.Enqueue([.. items]);
            }

            Assert.InRange(scheduler.StepsInFlight, 1, stages + 1);
            scheduler.StepDone();
            foreach (ScheduledItem item in inFlight.Dequeue())
            {
                if (decoding.IndexOf(item.Sequence) is >= 0 and var index)
                {
                    turns[index]++;
                    item.Sequence.Append(1);
                    scheduler.Ready(item.Sequence);
                }
                else
                {
                    prompts += item.TokenCount;
                    if (item.Samples)
                    {
                        scheduler.Remove(item.Sequence);
                    }
                }
            }
        }

        Assert.InRange(turns.Max() - turns.Min(), 0, 1);
        Assert.True(turns.Min() >= 10, $"A sequence had {turns.Min()} turns in 2,000 steps.");
        Assert.True(prompts >= 2000 * stepTokens / 8, $"Prompts got {prompts} tokens in 2,000 steps.");
    }

    [Fact]
    public void TryNext_PausedOrRemovedSequence_IsLeftOut()
    {
        StepScheduler scheduler = Decoding(1, 3, out List<ScheduledSequence> all);
        all[0].IsPaused = true;
        Assert.True(scheduler.Remove(all[1]));
        var items = new List<ScheduledItem>();
        Assert.True(scheduler.TryNext(items));
        Assert.Equal([all[2]], items.Select(item => item.Sequence));
    }

    private static StepScheduler Decoding(int stages, int count, out List<ScheduledSequence> all)
    {
        var scheduler = new StepScheduler(stages, 16);
        all = [.. Enumerable.Range(0, count).Select(_ => new ScheduledSequence([1, 2, 3], 2))];
        all.ForEach(scheduler.Add);
        return scheduler;
    }
}
