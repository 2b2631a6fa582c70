namespace E2LLM.Replicas.Stages;

/// <summary>
/// The one thread on which a stage computes: everything that sequences and sessions hold is touched only here. Work is done in the order it was posted; what takes
/// no time and must not wait for computations (opening a sequence, say) goes ahead of all that has not begun, in an order of its own. A thread of its own, so that long
/// computations never starve the thread pool that moves bytes and beats.
/// </summary>
internal sealed class StageLoop : IDisposable
{
    // A plain monitor: its wait parks at once. A semaphore's or a blocking collection's spins first and gives way to other threads again and again, which is what a machine with
    // more stages than cores would spend its time on.
    private readonly object _gate = new();
    private readonly Queue<Action> _work = new(), _ahead = new();
    private readonly Thread _thread;
    private readonly Action<Exception> _onFault;
    private int _queueLength;
    private bool _ended;

    /// <param name="name">Name of the device, for the thread.</param>
    /// <param name="onFault">Takes what work threw against its promise: whoever depends on the stage must be told, and the process must not die of it.</param>
    public StageLoop(string name, Action<Exception> onFault)
    {
        _onFault = onFault;
        _thread = new Thread(Run) { IsBackground = true, Name = $"E2LLM stage {name}" };
        _thread.Start();
    }

    /// <summary>Work posted and not yet done, what runs now included.</summary>
    public int QueueLength => Volatile.Read(ref _queueLength);

    /// <summary>Appends work, which must not throw.</summary>
    /// <returns>False where the loop has ended: the work will not be done.</returns>
    public bool Post(Action work) => Add(_work, work);

    /// <summary>Posts work, which must not throw, ahead of all work that <see cref="Post"/> took and that has not begun; behind what was posted so before.</summary>
    /// <returns>False where the loop has ended: the work will not be done.</returns>
    public bool PostAhead(Action work) => Add(_ahead, work);

    /// <summary>Posts work and tells when it was done, also where it threw: whoever waits for it must not wait for ever.</summary>
    /// <exception cref="ObjectDisposedException">The loop has ended.</exception>
    public Task RunAsync(Action work)
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        bool posted = Post(() =>
        {
            try
            {
                work();
            }
            finally
            {
                done.SetResult();
            }
        });
        ObjectDisposedException.ThrowIf(!posted, this);
        return done.Task;
    }

    /// <summary>Does what was posted, then ends the thread.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _ended = true;
            Monitor.Pulse(_gate);
        }

        if (Thread.CurrentThread != _thread)
        {
            _thread.Join();
        }
    }

    private bool Add(Queue<Action> queue, Action work)
    {
        lock (_gate)
        {
            if (_ended)
            {
                return false;
            }

            queue.Enqueue(work);

            // The thread waits only where nothing is left to do.
            if (_queueLength++ == 0)
            {
                Monitor.Pulse(_gate);
            }

            return true;
        }
    }

    private void Run()
    {
        while (Next() is { } work)
        {
            Do(work);
            lock (_gate)
            {
                _queueLength--;
            }
        }
    }

    /// <summary>Waits for what is to be done next; null when the loop has ended and nothing is left.</summary>
    private Action? Next()
    {
        lock (_gate)
        {
            Action? work;
            while (!_ahead.TryDequeue(out work) && !_work.TryDequeue(out work) && !_ended)
            {
                Monitor.Wait(_gate);
            }

            return work;
        }
    }

    private void Do(Action work)
    {
        try
        {
            work();
        }
        catch (Exception error)
        {
            _onFault(error);
        }
    }
}
