using System.Collections.Concurrent;

namespace E2LLM.Replicas.Stages;

/// <summary>
/// The one thread on which a stage computes: everything that sequences and sessions hold is touched only here. Work is done in the order it was posted; what takes
/// no time and must not wait for computations (opening a sequence, say) goes ahead of all that has not begun, in an order of its own. A thread of its own, so that long
/// computations never starve the thread pool that moves bytes and beats.
/// </summary>
internal sealed class StageLoop : IDisposable
{
    private readonly BlockingCollection<Action> _work = [];
    private readonly ConcurrentQueue<Action> _ahead = new();
    private readonly Thread _thread;
    private readonly Action<Exception> _onFault;
    private int _queueLength;

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
    public bool Post(Action work)
    {
        try
        {
            Interlocked.Increment(ref _queueLength);
            _work.Add(work);
            return true;
        }
        catch (InvalidOperationException)
        {
            // Completed or disposed by now.
            Interlocked.Decrement(ref _queueLength);
            return false;
        }
    }

    /// <summary>Posts work, which must not throw, ahead of all work that <see cref="Post"/> took and that has not begun; behind what was posted so before.</summary>
    /// <returns>False where the loop has ended.</returns>
    public bool PostAhead(Action work)
    {
        _ahead.Enqueue(work);

        // The turn that wakes the thread; the work is done before whatever comes next there.
        return Post(static () => { });
    }

    /// <summary>Does what was posted, then ends the thread.</summary>
    public void Dispose()
    {
        try
        {
            _work.CompleteAdding();
        }
        catch (ObjectDisposedException)
        {
            return;
        }

        if (Thread.CurrentThread != _thread)
        {
            _thread.Join();
            _work.Dispose();
        }
    }

    private void Run()
    {
        foreach (Action work in _work.GetConsumingEnumerable())
        {
            while (_ahead.TryDequeue(out Action? first))
            {
                Do(first);
            }

            Do(work);
            Interlocked.Decrement(ref _queueLength);
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
