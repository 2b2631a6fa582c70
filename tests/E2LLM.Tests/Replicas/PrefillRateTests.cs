using E2LLM.Replicas.Stages;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Replicas;

/// <summary>What a dispatcher believes of a replica's speed. The judge is arithmetic: prompts of 100 tokens at known times.</summary>
public class PrefillRateTests
{
    private readonly ManualTime _clock = new();

    [Fact]
    public void Done_PromptsThatFindTheReplicaIdle_SayNothingOfItsRate()
    {
        var rate = new PrefillRate(1000, _clock);
        for (int i = 0; i < 20; i++)
        {
            // Alone in a long pipeline a prompt takes half a second, five times what it takes of the replica's time.
            rate.Queued(100);
            long begun = rate.Begun();
            _clock.Advance(TimeSpan.FromSeconds(0.5));
            rate.Done(100, begun, completed: true);
        }

        Assert.Equal(0.1, rate.EstimateSeconds(100), 9);
    }

    [Fact]
    public void Done_PromptsOneAfterAnother_GiveTheRateAtWhichTheyCome()
    {
        var rate = new PrefillRate(1000, _clock);
        long begun = rate.Begun();
        rate.Queued(100 * 41);
        for (int i = 0; i < 41; i++)
        {
            _clock.Advance(TimeSpan.FromSeconds(0.4));
            rate.Done(100, begun, completed: true);
        }

        // 250 tokens a second, and what the plan said is forgotten but for 0.8^40.
        Assert.InRange(rate.EstimateSeconds(100), 0.395, 0.4);
    }

    [Fact]
    public void Done_TwoPromptsOfOneStep_CountAsOneStep()
    {
        var rate = new PrefillRate(1000, _clock);
        long begun = rate.Begun();
        for (int i = 0; i < 40; i++)
        {
            _clock.Advance(TimeSpan.FromSeconds(0.4));
            rate.Queued(200);
            rate.Done(100, begun, completed: true);
            rate.Done(100, begun, completed: true);
        }

        Assert.InRange(rate.EstimateSeconds(100), 0.19, 0.21);
    }

    [Fact]
    public void Done_GivenUp_TakesItsTokensOutOfTheQueueOnly()
    {
        var rate = new PrefillRate(1000, _clock);
        rate.Queued(300);

        rate.Done(300, rate.Begun(), completed: false);

        Assert.Equal(0, rate.QueuedTokenCount);
        Assert.Equal(0.1, rate.EstimateSeconds(100), 9);
    }

    [Fact]
    public void Done_WithoutAPlannedRate_TakesTheFirstPromptForIt()
    {
        var rate = new PrefillRate(0, _clock);
        Assert.Equal(100, rate.EstimateSeconds(100));
        rate.Queued(100);
        long begun = rate.Begun();
        _clock.Advance(TimeSpan.FromSeconds(0.5));

        rate.Done(100, begun, completed: true);

        Assert.Equal(0.5, rate.EstimateSeconds(100), 9);
    }
}
