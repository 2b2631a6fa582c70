namespace E2LLM.Tests.Support;

/// <summary>
/// Runs asynchronous work on a <see cref="ManualTime"/>: whenever nothing is left to do, the clock jumps to the next timer, so hours pass in as long as
/// the work itself takes. Needs the thread pool to itself. Use on a thread that is none of the pool's.
/// </summary>
internal sealed class VirtualRun(ManualTime time, Func<int> otherWork)
{
    /// <summary>Real time after which a run that does not come to rest is a failure; far beyond any run.</summary>
    private static readonly TimeSpan HangGuard = TimeSpan.FromSeconds(60);

    /// <summary>Threads of the pool that the test host itself blocks for good.</summary>
    private static readonly Lazy<int> BlockedCount = new(() => Enumerable.Range(0, 200).Min(_ =>
    {
        Thread.Sleep(1);
        return BusyCount();
    }));

    /// <summary>Lets time pass until <paramref name="task"/> is complete.</summary>
    /// <exception cref="TimeoutException">It is not complete after <paramref name="limit"/> of virtual time: it hangs.</exception>
    public void Until(Task task, TimeSpan limit)
    {
        long end = time.GetTimestamp() + limit.Ticks;
        while (true)
        {
            Rest();
            if (task.IsCompleted)
            {
                return;
            }

            TimeSpan next = time.UntilNext ?? throw new TimeoutException("Nothing is left to do, and the task is not complete.");
            if (time.GetTimestamp() + next.Ticks > end)
            {
                throw new TimeoutException($"Not complete after {limit} of virtual time.");
            }

            time.Advance(next);
        }
    }

    /// <summary>Waits until no thread of the pool and no other worker has anything to do.</summary>
    private void Rest()
    {
        long start = TimeProvider.System.GetTimestamp();
        for (int spins = 0; ; spins++)
        {
            // Work that moves between the looks at both kinds of workers completes an item meanwhile, so the count tells.
            long before = ThreadPool.CompletedWorkItemCount;
            if (otherWork() == 0 && ThreadPool.PendingWorkItemCount == 0 && BusyCount() <= BlockedCount.Value && before == ThreadPool.CompletedWorkItemCount)
            {
                return;
            }

            if (spins % 1024 == 1023 && TimeProvider.System.GetElapsedTime(start) > HangGuard)
            {
                throw new TimeoutException($"Threads do not come to rest: {BusyCount()} of the pool busy ({BlockedCount.Value} always), {ThreadPool.PendingWorkItemCount} waiting, {otherWork()} elsewhere.");
            }

            Thread.Yield();
        }
    }

    private static int BusyCount()
    {
        ThreadPool.GetMaxThreads(out int most, out _);
        ThreadPool.GetAvailableThreads(out int available, out _);
        return most - available;
    }
}
