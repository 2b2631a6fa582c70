namespace E2LLM.Replicas.Connections;

/// <summary>
/// Frames that were taken from one connection and wait to be worked off. Bounded: while there are too many, the connection is not read on, and the peer's sending comes to rest. Thread-safe.
/// </summary>
/// <param name="maxBytes">Bytes that wait at most; the frame that goes beyond is still taken.</param>
internal sealed class FrameBacklog(long maxBytes)
{
    /// <summary>A driver has a few steps under way and opens or closes as many sequences as a stage holds; whoever sends more may wait.</summary>
    public const int MaxCount = 256;

    private readonly Lock _gate = new();
    private TaskCompletionSource? _room;
    private long _bytes;
    private int _count;

    /// <summary>Whether the next frame must wait.</summary>
    public bool IsFull
    {
        get
        {
            lock (_gate)
            {
                return _count >= MaxCount || _bytes >= maxBytes;
            }
        }
    }

    /// <summary>A frame waits for its work.</summary>
    public void Add(long bytes)
    {
        lock (_gate)
        {
            _count++;
            _bytes += bytes;
        }
    }

    /// <summary>A frame's work is done.</summary>
    public void Done(long bytes)
    {
        TaskCompletionSource? room = null;
        lock (_gate)
        {
            _count--;
            _bytes -= bytes;
            if (_room is not null && !IsFull)
            {
                (room, _room) = (_room, null);
            }
        }

        room?.TrySetResult();
    }

    /// <summary>Waits until the next frame may come.</summary>
    public Task WaitForRoomAsync(CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            return IsFull ? (_room ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task.WaitAsync(cancellationToken) : Task.CompletedTask;
        }
    }
}
