namespace E2LLM.Tests.Support;

/// <summary>
/// Streams between named devices on a virtual clock: each write arrives after a delay, in order on its connection and in any order among
/// connections, at a limited rate; connections break, and a direction between two devices may be cut for a while. Seeded; thread-safe.
/// </summary>
internal sealed class SimulatedNetwork(ManualTime time, int seed)
{
    private static readonly TimeSpan Retry = TimeSpan.FromSeconds(1);

    private readonly Lock _gate = new();
    private readonly Random _random = new(seed);
    private readonly HashSet<(string From, string To)> _cuts = [];
    private readonly HashSet<string> _dead = [];
    private readonly List<SimulatedStream> _open = [];

    /// <summary>Delay of each write, drawn evenly up to this.</summary>
    public TimeSpan MaxDelay { get; init; }

    /// <summary>Rate of each direction of each connection.</summary>
    public double BytesPerSecond { get; init; } = 1e9;

    /// <summary>Ends of connections that nobody has disposed.</summary>
    public int OpenCount
    {
        get
        {
            lock (_gate)
            {
                return _open.Count;
            }
        }
    }

    /// <summary>Opens a connection: a round trip, and as long as a direction is cut another try each second.</summary>
    public async ValueTask<Stream> ConnectAsync(string from, string to, Action<Stream> accept, CancellationToken cancellationToken)
    {
        await Task.Delay(Delay() + Delay(), time, cancellationToken);
        while (IsCut(from, to) || IsCut(to, from))
        {
            await Task.Delay(Retry, time, cancellationToken);
        }

        SimulatedStream near = new(this, from, to), far = new(this, to, from);
        lock (_gate)
        {
            if (_dead.Contains(to) || _dead.Contains(from))
            {
                throw new IOException($"Connection to {to} refused.");
            }

            (near.Peer, far.Peer) = (far, near);
            _open.AddRange([near, far]);
        }

        accept(far);
        return near;
    }

    /// <summary>Lets nothing pass in one direction until <see cref="Heal"/>; the other goes on.</summary>
    public void Cut(string from, string to) => Locked(() => _cuts.Add((from, to)));

    public void Heal(string from, string to)
    {
        SimulatedStream[] waiting = [];
        Locked(() =>
        {
            _cuts.Remove((from, to));
            waiting = [.. _open.Where(stream => stream.Device == to && stream.Other == from)];
        });
        Array.ForEach(waiting, stream => stream.DeliverDue());
    }

    /// <summary>Breaks one connection, whichever the number picks: what is under way is lost, and both ends hear of it.</summary>
    public void Break(int pick)
    {
        SimulatedStream? victim = null;
        Locked(() => victim = _open.Count > 0 ? _open[pick % _open.Count] : null);
        victim?.Reset(Delay());
        victim?.Peer.Reset(Delay());
    }

    /// <summary>Ends a device: all its connections break, new ones are refused.</summary>
    public void Kill(string device)
    {
        SimulatedStream[] victims = [];
        Locked(() =>
        {
            _dead.Add(device);
            victims = [.. _open.Where(stream => stream.Device == device)];
        });
        foreach (SimulatedStream victim in victims)
        {
            victim.Reset(TimeSpan.Zero);
            victim.Peer.Reset(Delay());
        }
    }

    public void Revive(string device) => Locked(() => _dead.Remove(device));

    public bool IsCut(string from, string to)
    {
        lock (_gate)
        {
            return _cuts.Contains((from, to));
        }
    }

    public void Forget(SimulatedStream stream) => Locked(() => _open.Remove(stream));

    public TimeSpan Delay()
    {
        lock (_gate)
        {
            return MaxDelay * _random.NextDouble();
        }
    }

    public TimeSpan Now => TimeSpan.FromTicks(time.GetTimestamp());

    /// <summary>Runs <paramref name="action"/> once the clock is there.</summary>
    public void At(TimeSpan due, Action action)
    {
        ITimer? timer = null;
        timer = time.CreateTimer(
            _ =>
            {
                timer?.Dispose();
                action();
            }, null, TimeSpan.FromTicks(Math.Max(0, (due - Now).Ticks)), Timeout.InfiniteTimeSpan);
    }

    private void Locked(Action action)
    {
        lock (_gate)
        {
            action();
        }
    }
}
