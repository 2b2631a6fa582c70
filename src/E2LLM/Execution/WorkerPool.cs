using System.Runtime.ExceptionServices;

namespace E2LLM.Execution;

/// <summary>
/// Threads of its own that share out the tasks of one <see cref="IWork"/> at a time. Lives as long as its executor. One thread at a time may call
/// <see cref="Run"/>; it takes part in the work, so a pool of one worker has no threads at all.
/// </summary>
/// <remarks>
/// Tasks are handed out one by one, so a worker that the system has paused holds up one task and no more. Waiting spins briefly and then parks:
/// quick where cores are free, and harmless where they are not. Nothing is allocated by a run.
/// </remarks>
internal sealed class WorkerPool : IDisposable
{
    // Spins of about a microsecond each (Thread.SpinWait is calibrated so that 30 iterations come near to it).
    private const int SpinIterations = 30;
    private const int WorkerSpinCount = 60;
    private const int CallerSpinCount = 100;

    private readonly Thread[] _threads;
    private readonly object _workerGate = new(), _callerGate = new();
    private IWork _work = NoWork.Instance;

    // One word says which run it is, how many tasks it has and how many were handed out, so that a worker that comes late can never take a task of the
    // wrong run: 24 bits of run number, 20 bits of task count, 20 bits of tasks taken.
    private long _state;
    private int _remaining;
    private int _parkedWorkers;
    private int _callerParked;
    private ExceptionDispatchInfo? _failure;
    private volatile bool _stopping;
    private bool _disposed;

    /// <summary>Starts the threads.</summary>
    /// <param name="workerCount">Workers, the calling thread among them; at least 1.</param>
    internal WorkerPool(int workerCount)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(workerCount, 1);
        WorkerCount = workerCount;
        _threads = new Thread[workerCount - 1];
        for (int i = 0; i < _threads.Length; i++)
        {
            int worker = i + 1;
            _threads[i] = new Thread(() => WorkerLoop(worker)) { IsBackground = true, Name = $"E2LLM worker {worker}" };
            _threads[i].Start();
        }
    }

    /// <summary>Tasks of one run at most.</summary>
    internal const int MaxTaskCount = (1 << TaskBits) - 1;

    private const int TaskBits = 20;

    /// <summary>Workers, the calling thread among them.</summary>
    internal int WorkerCount { get; }

    /// <summary>Runs all tasks and returns when the last is done.</summary>
    /// <exception cref="ObjectDisposedException">The pool was disposed.</exception>
    /// <remarks>The first exception that a task throws is thrown here, after the tasks that had begun have ended; tasks not begun by then are left out.</remarks>
    internal void Run(IWork work, int taskCount)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(taskCount, MaxTaskCount);
        if (taskCount <= 0)
        {
            return;
        }

        if (taskCount == 1 || WorkerCount == 1)
        {
            for (int task = 0; task < taskCount; task++)
            {
                work.Run(task, 0);
            }

            return;
        }

        _work = work;
        _failure = null;
        _remaining = taskCount;
        long run = ((_state >> (2 * TaskBits)) + 1) & 0xFFFFFF;

        // A full fence: what was written above is seen by whoever takes a task, and the count of parked workers is read after it.
        Interlocked.Exchange(ref _state, (run << (2 * TaskBits)) | ((long)taskCount << TaskBits));
        if (Volatile.Read(ref _parkedWorkers) > 0)
        {
            lock (_workerGate)
            {
                Monitor.PulseAll(_workerGate);
            }
        }

        TakeTasks(0);
        WaitForOthers();
        _work = NoWork.Instance;
        _failure?.Throw();
    }

    /// <summary>Ends the threads and waits for them.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _stopping = true;
        lock (_workerGate)
        {
            Monitor.PulseAll(_workerGate);
        }

        foreach (Thread thread in _threads)
        {
            thread.Join();
        }
    }

    private static bool HasTask(long state) => (state & MaxTaskCount) < ((state >> TaskBits) & MaxTaskCount);

    private void WorkerLoop(int worker)
    {
        while (!_stopping)
        {
            TakeTasks(worker);
            int spins = 0;
            while (!_stopping && !HasTask(Volatile.Read(ref _state)))
            {
                if (spins++ < WorkerSpinCount)
                {
                    Thread.SpinWait(SpinIterations);
                    continue;
                }

                lock (_workerGate)
                {
                    // Announced before the last look, so that a run that starts now either is seen here or sees us parked.
                    Interlocked.Increment(ref _parkedWorkers);
                    if (!_stopping && !HasTask(Volatile.Read(ref _state)))
                    {
                        Monitor.Wait(_workerGate);
                    }

                    Interlocked.Decrement(ref _parkedWorkers);
                }

                spins = 0;
            }
        }
    }

    private void TakeTasks(int worker)
    {
        long state = Volatile.Read(ref _state);
        while (HasTask(state))
        {
            long seen = Interlocked.CompareExchange(ref _state, state + 1, state);
            if (seen != state)
            {
                state = seen;
                continue;
            }

            // The run cannot end before this task does, so its work stays in place.
            RunTask((int)(state & MaxTaskCount), worker);
            state = Volatile.Read(ref _state);
        }
    }

    private void RunTask(int task, int worker)
    {
        if (Volatile.Read(ref _failure) is null)
        {
            try
            {
                _work.Run(task, worker);
            }
#pragma warning disable CA1031 // Whatever a task throws belongs to the caller of Run, where it is thrown again.
            catch (Exception exception)
#pragma warning restore CA1031
            {
                Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(exception), null);
            }
        }

        if (Interlocked.Decrement(ref _remaining) == 0 && Volatile.Read(ref _callerParked) != 0)
        {
            lock (_callerGate)
            {
                Monitor.Pulse(_callerGate);
            }
        }
    }

    private void WaitForOthers()
    {
        for (int spins = 0; spins < CallerSpinCount; spins++)
        {
            if (Volatile.Read(ref _remaining) == 0)
            {
                return;
            }

            Thread.SpinWait(SpinIterations);
        }

        lock (_callerGate)
        {
            Interlocked.Exchange(ref _callerParked, 1);
            while (Volatile.Read(ref _remaining) != 0)
            {
                Monitor.Wait(_callerGate);
            }

            Volatile.Write(ref _callerParked, 0);
        }
    }

    private sealed class NoWork : IWork
    {
        internal static readonly NoWork Instance = new();

        public void Run(int task, int worker) => throw new InvalidOperationException("No work was given.");
    }
}
