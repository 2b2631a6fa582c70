using E2LLM.Simulation.Models;

namespace E2LLM.Simulation.Engine;

/// <summary>One transfer in progress. Pooled: an index names it until it is delivered.</summary>
internal struct Flow
{
    public int From, To;
    public double RemainingBytes, BytesPerSecond, NotBeforeSeconds, StartSeconds;

    /// <summary>Who waits for it: slot of the request and the request's epoch when the flow was made.</summary>
    public int Request, Epoch;
}

/// <summary>
/// Directed ports and links that transfers share fairly: every device sends through its outgoing port and receives through its incoming one, and the
/// rates of all transfers are the max-min fair ones (progressive filling). Activations between stages are short; they see the share that
/// the transfers of the moment leave them and take nothing from those. Not thread-safe.
/// </summary>
internal sealed class FairShareNetwork
{
    private readonly int _deviceCount;
    private readonly double[] _linkBytesPerSecond, _linkDelaySeconds, _portBytesPerSecond;
    private readonly bool[] _portDown, _linkDown;
    private readonly int[] _outCount, _inCount;
    private readonly List<int> _active = [];
    private readonly double[] _left;
    private readonly int[] _users;
    private readonly List<int> _resources = [];
    private Flow[] _flows = new Flow[64];
    private readonly Stack<int> _free = new();
    private int _flowCount;
    private double _lastUpdate;

    /// <summary>Creates the network of one run.</summary>
    public FairShareNetwork(NetworkModel model)
    {
        int n = _deviceCount = model.DeviceCount;
        (_portBytesPerSecond, _linkBytesPerSecond, _linkDelaySeconds) = (model.PortBytesPerSecond, model.LinkBytesPerSecond, model.LinkDelaySeconds);
        _portDown = new bool[n];
        _linkDown = new bool[n * n];
        (_outCount, _inCount) = (new int[n], new int[n]);
        _left = new double[(2 * n) + (n * n)];
        _users = new int[_left.Length];
    }

    /// <summary>Bytes delivered so far.</summary>
    public double DeliveredBytes { get; private set; }

    /// <summary>Whether bytes can go from one device to another at this moment.</summary>
    public bool IsConnected(int from, int to)
    {
        int link = (from * _deviceCount) + to;
        return from == to || (_linkBytesPerSecond[link] > 0 && !_linkDown[link] && !_portDown[from] && !_portDown[to]);
    }

    /// <summary>Takes a link down or up in both directions. Transfers that use it must have been cancelled.</summary>
    public void SetLink(int from, int to, bool down) => _linkDown[(from * _deviceCount) + to] = _linkDown[(to * _deviceCount) + from] = down;

    /// <summary>Takes a device's port down or up. Transfers that use it must have been cancelled.</summary>
    public void SetPort(int device, bool down) => _portDown[device] = down;

    /// <summary>
    /// Seconds for a message between stages, sharing the ports with the transfers of this moment, and with <paramref name="besides"/> bytes that leave the same port together with it: fair shares give them
    /// half of it until one of the two is through.
    /// </summary>
    public double MessageSeconds(int from, int to, double bytes, double besides = 0)
    {
        if (from == to)
        {
            return 0;
        }

        int link = (from * _deviceCount) + to;
        double port = _portBytesPerSecond[from] / (1 + _outCount[from]);
        double speed = Math.Min(_linkBytesPerSecond[link], Math.Min(port, _portBytesPerSecond[to] / (1 + _inCount[to])));
        return _linkDelaySeconds[link] + Math.Max(bytes / speed, (bytes + Math.Min(bytes, besides)) / port);
    }

    /// <summary>Prepares a transfer; it moves nothing before <see cref="Start"/>.</summary>
    public int Create(int from, int to, double bytes, int request, int epoch, double notBeforeSeconds)
    {
        if (!_free.TryPop(out int index))
        {
            index = _flowCount++;
            if (index == _flows.Length)
            {
                Array.Resize(ref _flows, _flows.Length * 2);
            }
        }

        _flows[index] = new Flow { From = from, To = to, RemainingBytes = bytes, Request = request, Epoch = epoch, NotBeforeSeconds = notBeforeSeconds };
        return index;
    }

    public ref readonly Flow this[int index] => ref _flows[index];

    /// <summary>Starts moving bytes.</summary>
    public void Start(int index, double now)
    {
        Advance(now);
        _flows[index].StartSeconds = now;
        DeliveredBytes += _flows[index].RemainingBytes;
        _active.Add(index);
        _outCount[_flows[index].From]++;
        _inCount[_flows[index].To]++;
        ShareFairly();
    }

    /// <summary>Time at which the next transfer will have moved its last byte, or infinity.</summary>
    public double NextCompletion(double now)
    {
        double next = double.PositiveInfinity;
        foreach (int index in _active)
        {
            next = Math.Min(next, now + (_flows[index].RemainingBytes / _flows[index].BytesPerSecond));
        }

        return next;
    }

    /// <summary>Moves the transfers on to <paramref name="now"/> and takes out those that are done.</summary>
    public void TakeCompleted(double now, List<int> completed)
    {
        Advance(now);
        completed.Clear();
        for (int i = 0; i < _active.Count;)
        {
            ref Flow flow = ref _flows[_active[i]];

            // Less than a nanosecond of its own speed is left over by rounding only.
            if (flow.RemainingBytes <= flow.BytesPerSecond * 1e-9)
            {
                completed.Add(_active[i]);
                Remove(i);
            }
            else
            {
                i++;
            }
        }

        if (completed.Count > 0)
        {
            ShareFairly();
        }
    }

    /// <summary>One-way delay between two devices.</summary>
    public double DelaySeconds(int from, int to) => _linkDelaySeconds[(from * _deviceCount) + to];

    /// <summary>Gives the index of a delivered (or never started) transfer back.</summary>
    public void Recycle(int index) => _free.Push(index);

    /// <summary>Takes out every transfer for which <paramref name="match"/> holds; what it had not moved is not counted as delivered.</summary>
    public void Cancel(double now, Func<Flow, bool> match)
    {
        Advance(now);
        for (int i = 0; i < _active.Count;)
        {
            if (match(_flows[_active[i]]))
            {
                DeliveredBytes -= _flows[_active[i]].RemainingBytes;
                _free.Push(_active[i]);
                Remove(i);
            }
            else
            {
                i++;
            }
        }

        ShareFairly();
    }

    private void Remove(int at)
    {
        ref Flow flow = ref _flows[_active[at]];
        _outCount[flow.From]--;
        _inCount[flow.To]--;
        _active.RemoveAt(at);
    }

    private void Advance(double now)
    {
        double seconds = now - _lastUpdate;
        _lastUpdate = now;
        if (seconds > 0)
        {
            foreach (int index in _active)
            {
                ref Flow flow = ref _flows[index];
                flow.RemainingBytes = Math.Max(0, flow.RemainingBytes - (flow.BytesPerSecond * seconds));
            }
        }
    }

    // Progressive filling: the resource that leaves its users the least fixes their rates; take those out and repeat.
    private void ShareFairly()
    {
        if (_active.Count == 0)
        {
            return;
        }

        _resources.Clear();
        foreach (int index in _active)
        {
            ref Flow flow = ref _flows[index];
            flow.BytesPerSecond = 0;
            Use(flow.From, _portBytesPerSecond[flow.From]);
            Use(_deviceCount + flow.To, _portBytesPerSecond[flow.To]);
            Use(LinkResource(flow), _linkBytesPerSecond[(flow.From * _deviceCount) + flow.To]);
        }

        for (int unfixed = _active.Count; unfixed > 0;)
        {
            int tightest = -1;
            double share = double.PositiveInfinity;
            foreach (int resource in _resources)
            {
                if (_users[resource] > 0 && _left[resource] / _users[resource] < share)
                {
                    (tightest, share) = (resource, _left[resource] / _users[resource]);
                }
            }

            foreach (int index in _active)
            {
                ref Flow flow = ref _flows[index];
                int link = LinkResource(flow);
                if (flow.BytesPerSecond == 0 && (flow.From == tightest || _deviceCount + flow.To == tightest || link == tightest))
                {
                    flow.BytesPerSecond = share;
                    unfixed--;
                    Release(flow.From, share);
                    Release(_deviceCount + flow.To, share);
                    Release(link, share);
                }
            }
        }

        foreach (int resource in _resources)
        {
            _users[resource] = 0;
        }
    }

    private int LinkResource(in Flow flow) => (2 * _deviceCount) + (flow.From * _deviceCount) + flow.To;

    private void Use(int resource, double bytesPerSecond)
    {
        if (_users[resource]++ == 0)
        {
            _left[resource] = bytesPerSecond;
            _resources.Add(resource);
        }
    }

    private void Release(int resource, double share)
    {
        _left[resource] = Math.Max(0, _left[resource] - share);
        _users[resource]--;
    }
}
