using E2LLM.Execution;

namespace E2LLM.Tests.Execution;

public sealed class WorkerPoolTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(9)]
    public void Run_ManyRuns_DoesEachTaskOnce(int workers)
    {
        using var pool = new WorkerPool(workers);
        var random = new Random(workers);
        for (int run = 0; run < 2000; run++)
        {
            var work = new CountingWork(random.Next(0, 40));
            pool.Run(work, work.Counts.Length);
            Assert.All(work.Counts, count => Assert.Equal(1, count));
            Assert.InRange(work.HighestWorker, 0, workers - 1);
        }
    }

    [Fact]
    public void Run_AfterWorkersParked_StillFinishes()
    {
        using var pool = new WorkerPool(3);
        for (int run = 0; run < 20; run++)
        {
            var work = new CountingWork(5);
            pool.Run(work, 5);
            Assert.All(work.Counts, count => Assert.Equal(1, count));
            Thread.Sleep(3); // far longer than a worker spins
        }
    }

    [Fact]
    public void Run_TaskLongerThanCallerSpins_WaitsForIt()
    {
        using var pool = new WorkerPool(2);
        var work = new DelegateWork(task => Thread.Sleep(task == 1 ? 30 : 1));
        pool.Run(work, 2);
        Assert.Equal(2, work.Finished);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public void Run_TaskThrows_ThrowsItToCallerAndStaysUsable(int workers)
    {
        using var pool = new WorkerPool(workers);
        var failure = new DelegateWork(task =>
        {
            if (task == 3)
            {
                throw new FormatException("task 3");
            }
        });
        Assert.Equal("task 3", Assert.Throws<FormatException>(() => pool.Run(failure, 10)).Message);
        var work = new CountingWork(10);
        pool.Run(work, 10);
        Assert.All(work.Counts, count => Assert.Equal(1, count));
    }

    [Fact]
    public void Run_AfterDispose_Throws()
    {
        var pool = new WorkerPool(3);
        pool.Dispose();
        pool.Dispose();
        Assert.Throws<ObjectDisposedException>(() => pool.Run(new CountingWork(1), 1));
    }

    [Fact]
    public void Run_AfterWarmUp_AllocatesNothing()
    {
        using var pool = new WorkerPool(3);
        var work = new CountingWork(16);
        for (int i = 0; i < 200; i++)
        {
            pool.Run(work, 16);
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 500; i++)
        {
            pool.Run(work, 16);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void Run_ThreadPoolFullOfWaiters_StillEnds()
    {
        using var release = new ManualResetEventSlim();
        ThreadPool.GetMinThreads(out int threads, out _);
        using var blocked = new CountdownEvent(threads);
        Task[] waiters = [.. Enumerable.Range(0, threads * 4).Select(i => Task.Run(() =>
        {
            if (i < threads)
            {
                blocked.Signal();
            }

            release.Wait();
        }))];
        try
        {
            Assert.True(blocked.Wait(TimeSpan.FromMinutes(1)), "the thread pool took no work");
            using var pool = new WorkerPool(3);
            var work = new CountingWork(50);
            Task run = Task.Factory.StartNew(() => pool.Run(work, 50), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            Assert.True(run.Wait(TimeSpan.FromMinutes(1)), "the pool waits for a thread of .NET's");
            Assert.All(work.Counts, count => Assert.Equal(1, count));
        }
        finally
        {
            release.Set();
            Task.WaitAll(waiters);
        }
    }

    private sealed class CountingWork(int tasks) : IWork
    {
        internal int[] Counts { get; } = new int[tasks];

        internal int HighestWorker { get; private set; }

        public void Run(int task, int worker)
        {
            Interlocked.Increment(ref Counts[task]);
            HighestWorker = Math.Max(HighestWorker, worker);
        }
    }

    private sealed class DelegateWork(Action<int> body) : IWork
    {
        private int _finished;

        internal int Finished => _finished;

        public void Run(int task, int worker)
        {
            body(task);
            Interlocked.Increment(ref _finished);
        }
    }
}
