using E2LLM.Replicas.Stages;

namespace E2LLM.Tests.Replicas;

/// <summary>The order in which a stage's thread does what it was given.</summary>
public class StageLoopTests
{
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
                go.Wait();
            });
            running.Wait();
            loop.Post(() => done.Add("step 1"));
            loop.PostAhead(() => done.Add("close"));
            loop.Post(() => done.Add("step 2"));
            loop.PostAhead(() => done.Add("open"));
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

        Assert.True(done.Wait(TimeSpan.FromSeconds(30)));
    }

    [Fact]
    public void PostAhead_AfterTheEnd_IsRefused()
    {
        var loop = new StageLoop("ended", error => throw error);
        loop.Dispose();

        Assert.False(loop.PostAhead(() => { }));
    }
}
