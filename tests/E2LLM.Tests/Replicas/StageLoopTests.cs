using E2LLM.Replicas.Stages;

namespace E2LLM.Tests.Replicas;

/// <summary>The order in which a stage's thread does what it was given.</summary>
public class StageLoopTests
{
    private static readonly TimeSpan Guard = TimeSpan.FromSeconds(60);

    [Fact]
    public void PostAhead_WhileWorkWaits_GoesBeforeItAndKeepsItsOwnOrder()
    {
        var done = new List<string>();
        using var running = new ManualResetEventSlim();
        using var go = new ManualResetEventSlim();
        using (var loop = new StageLoop("order", error => throw error))
        {
            loop.Post(() =>
            {
                running.Set();
                go.Wait(Guard);
            });
            Assert.True(running.Wait(Guard));
            loop.Post(() => done.Add("step 1"));
            loop.PostAhead(() => done.Add("close"));
            loop.Post(() => done.Add("step 2"));
            loop.PostAhead(() => done.Add("open"));
            Assert.Equal(5, loop.QueueLength);
            go.Set();
        }

        Assert.Equal(["close", "open", "step 1", "step 2"], done);
    }

    [Fact]
    public void PostAhead_OnAnIdleLoop_IsDone()
    {
        using var done = new ManualResetEventSlim();
        using var loop = new StageLoop("idle", error => throw error);

        Assert.True(loop.PostAhead(done.Set));

        Assert.True(done.Wait(Guard));
    }

    [Fact]
    public async Task QueueLength_WhileManyPostAheadAndOthersAreDone_IsWhatIsLeft()
    {
        const int Count = 20_000;
        using var loop = new StageLoop("count", error => throw error);
        int done = 0;
        Task[] posting = [.. Enumerable.Range(0, 4).Select(i => Task.Run(() =>
        {
            for (int n = 0; n < Count; n++)
            {
                _ = i % 2 == 0 ? loop.PostAhead(() => done++) : loop.Post(() => done++);
            }
        }))];
        await Task.WhenAll(posting).WaitAsync(Guard);
        using var last = new ManualResetEventSlim();
        loop.Post(last.Set);
        Assert.True(last.Wait(Guard));
        Assert.Equal(4 * Count, done);
        Assert.InRange(loop.QueueLength, 0, 1);
    }

    [Fact]
    public void PostAhead_AfterTheEnd_IsRefused()
    {
        var loop = new StageLoop("ended", error => throw error);
        loop.Dispose();

        Assert.False(loop.PostAhead(() => { }));
    }
}
