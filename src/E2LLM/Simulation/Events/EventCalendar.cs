namespace E2LLM.Simulation.Events;

/// <summary>
/// The calendar of a discrete-event simulation: a binary heap over <c>(Time, Sequence)</c> and the clock that its head drives.
/// Nothing is ever removed but the head: an event that has lost its meaning is recognised by its stamp when it comes up (lazy deletion).
/// The heap's array grows to the largest number of events pending at once and allocates nothing after that. Not thread-safe.
/// </summary>
internal sealed class EventCalendar
{
    private SimulationEvent[] _heap = new SimulationEvent[64];
    private int _count;
    private long _sequence;

    /// <summary>The time of the last event taken, seconds. Never goes back.</summary>
    public double Now { get; private set; }

    /// <summary>Events pending, those that have lost their meaning included.</summary>
    public int Count => _count;

    /// <summary>Events taken so far.</summary>
    public long Taken { get; private set; }

    /// <summary>A running hash over every event taken: two runs with the same hash did the same things in the same order.</summary>
    public ulong LogHash { get; private set; } = 14695981039346656037UL;

    /// <summary>Plans an event at an absolute time.</summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="time"/> is in the past, or not a finite number.</exception>
    public void Schedule(double time, int kind, int target, int stamp = 0)
    {
        if (!(time >= Now) || !double.IsFinite(time))
        {
            throw new ArgumentOutOfRangeException(nameof(time), time, $"An event needs a finite time that is not before the clock ({Now} s).");
        }

        if (_count == _heap.Length)
        {
            Array.Resize(ref _heap, _heap.Length * 2);
        }

        SiftUp(new SimulationEvent(time, _sequence++, kind, target, stamp));
    }

    /// <summary>Takes the earliest event and moves the clock to it; false when none is left.</summary>
    public bool TryTake(out SimulationEvent next)
    {
        if (_count == 0)
        {
            next = default;
            return false;
        }

        next = _heap[0];
        SimulationEvent last = _heap[--_count];
        if (_count > 0)
        {
            SiftDown(last);
        }

        Now = next.Time;
        Taken++;
        ulong word = BitConverter.DoubleToUInt64Bits(next.Time) ^ ((ulong)(uint)next.Kind << 56) ^ (uint)next.Target;
        LogHash = (LogHash ^ word) * 1099511628211UL;
        LogHash ^= LogHash >> 29;
        return true;
    }

    private static bool Before(in SimulationEvent left, in SimulationEvent right) =>
        left.Time < right.Time || (left.Time == right.Time && left.Sequence < right.Sequence);

    private void SiftUp(in SimulationEvent added)
    {
        SimulationEvent[] heap = _heap;
        int hole = _count++;
        while (hole > 0)
        {
            int parent = (hole - 1) >> 1;
            if (!Before(added, heap[parent]))
            {
                break;
            }

            heap[hole] = heap[parent];
            hole = parent;
        }

        heap[hole] = added;
    }

    private void SiftDown(in SimulationEvent moved)
    {
        SimulationEvent[] heap = _heap;
        int hole = 0;
        while (true)
        {
            int child = (2 * hole) + 1;
            if (child >= _count)
            {
                break;
            }

            if (child + 1 < _count && Before(heap[child + 1], heap[child]))
            {
                child++;
            }

            if (!Before(heap[child], moved))
            {
                break;
            }

            heap[hole] = heap[child];
            hole = child;
        }

        heap[hole] = moved;
    }
}
