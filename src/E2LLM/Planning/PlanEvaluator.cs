using E2LLM.Costs;
using E2LLM.Deployment;

namespace E2LLM.Planning;

/// <summary>What one replica can do, by the cost model. Immutable.</summary>
public sealed record ReplicaRates
{
    /// <summary>Requests per second while it prefills only; 0 for a decode replica.</summary>
    public double PrefillRequestsPerSecond { get; init; }

    /// <summary>Requests per second while it decodes only; 0 for a prefill replica.</summary>
    public double DecodeRequestsPerSecond { get; init; }

    /// <summary>Seconds from the start of a mean prompt's first pass to its last stage's end, on an idle replica.</summary>
    public double PrefillLatencySeconds { get; init; }

    /// <summary>Seconds of one decode step with every slot busy: TPOT of its requests.</summary>
    public double CycleSeconds { get; init; }

    /// <summary>What limits it.</summary>
    public required PlanBottleneck Bottleneck { get; init; }
}

/// <summary>
/// Judges a plan stage by stage and link by link with the cost model of <see cref="StageCost"/>; shares nothing with the searches, so it checks them.
/// Immutable; thread-safe. Sources: pipeline rates as in E2LLM (arXiv 2606.03770), with the sum of stages beside their maximum for few decode slots.
/// </summary>
public sealed class PlanEvaluator
{
    private readonly Cluster _cluster;
    private readonly ModelCost _model;
    private readonly WorkloadSummary _work;
    private readonly StageTimes _times;
    private readonly LinkTable _network;
    private readonly Dictionary<string, int> _index;
    private readonly PlannerOptions _options;

    /// <summary>Creates a judge for one cluster, model and workload.</summary>
    /// <exception cref="ArgumentException">The cluster has a problem (see <see cref="Cluster.FindProblem"/>).</exception>
    public PlanEvaluator(Cluster cluster, ModelCost model, Workload workload, PlannerOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(cluster);
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(workload);
        _options = options ?? new PlannerOptions();
        _options.Validate();
        if (cluster.FindProblem() is { } problem)
        {
            throw new ArgumentException($"{problem.At}: {problem.Message}", nameof(cluster));
        }

        _cluster = cluster;
        _model = model;
        _work = new WorkloadSummary(workload, model, _options);
        _times = new StageTimes(model, _work);
        _network = new LinkTable(cluster);
        _index = Index(cluster);
    }

    internal PlanEvaluator(PlanningProblem problem)
    {
        _options = problem.Options;
        _cluster = problem.Cluster;
        _model = problem.Model;
        _work = problem.Work;
        _times = problem.Times;
        _network = problem.Network;
        _index = Index(_cluster);
    }

    /// <summary>Rates, latency and bottleneck of one replica.</summary>
    /// <exception cref="ArgumentException">A stage names an unknown device, or two consecutive stages are not connected.</exception>
    public ReplicaRates Evaluate(ReplicaPlan replica)
    {
        ArgumentNullException.ThrowIfNull(replica);
        int[] devices = new int[replica.Stages.Count];
        for (int j = 0; j < devices.Length; j++)
        {
            devices[j] = _index.TryGetValue(replica.Stages[j].Device, out int device)
                ? device
                : throw new ArgumentException($"There is no device '{replica.Stages[j].Device}'.", nameof(replica));
        }

        double prefillRate = 0, latency = 0, decodeRate = 0, cycle = 0;
        var bottleneck = new PlanBottleneck { Kind = "stage", At = "" };
        if (replica.Role != ReplicaRole.Decode)
        {
            (prefillRate, latency, bottleneck) = Prefill(replica, devices);
        }

        if (replica.Role != ReplicaRole.Prefill)
        {
            (decodeRate, cycle, bottleneck) = Decode(replica, devices);
        }

        return new ReplicaRates
        {
            PrefillRequestsPerSecond = prefillRate,
            DecodeRequestsPerSecond = decodeRate,
            PrefillLatencySeconds = latency,
            CycleSeconds = cycle,
            Bottleneck = bottleneck,
        };
    }

    /// <summary>Largest request rate that prefill and decode of the whole plan sustain: <c>min(sum of prefill rates, sum of decode rates)</c>, shares of mixed replicas applied.</summary>
    public double Capacity(DeploymentPlan plan) => Totals(plan, out double decode) is var prefill ? Math.Min(prefill, decode) : 0;

    /// <summary>Total prefill and decode rates of a plan in requests per second.</summary>
    internal double Totals(DeploymentPlan plan, out double decode)
    {
        ArgumentNullException.ThrowIfNull(plan);
        double prefill = 0;
        decode = 0;
        foreach (ReplicaPlan replica in plan.Replicas)
        {
            ReplicaRates rates = Evaluate(replica);
            (double p, double d) = Shares(replica, rates);
            prefill += p;
            decode += d;
        }

        return prefill;
    }

    internal (double Prefill, double Decode) Shares(ReplicaPlan replica, ReplicaRates rates)
    {
        switch (replica.Role)
        {
            case ReplicaRole.Prefill:
                return (rates.PrefillRequestsPerSecond, 0);
            case ReplicaRole.Decode:
                return (0, rates.DecodeRequestsPerSecond);
            default:
                // What one phase does beyond the other leaves or comes as KV caches through the ports.
                double prefill = replica.PrefillShare * rates.PrefillRequestsPerSecond / _options.MixedSlowdown;
                double decode = (1 - replica.PrefillShare) * rates.DecodeRequestsPerSecond / _options.MixedSlowdown;
                double kv = KvSeconds(replica), passes = kv > 0 ? 1 / kv : double.PositiveInfinity;
                return (Math.Min(prefill, decode + passes), Math.Min(decode, prefill + passes));
        }
    }

    /// <summary>Bytes that a stage of a replica needs.</summary>
    public long MemoryBytes(ReplicaPlan replica, StagePlan stage)
    {
        ArgumentNullException.ThrowIfNull(replica);
        ArgumentNullException.ThrowIfNull(stage);
        int batch = replica.DecodeSlots > 0 ? Clustering.GroupRates.Batch(replica.DecodeSlots, replica.Stages.Count) : 1;
        return _times.Memory(replica.Role, stage.Layers, stage.Embedding, stage.Head, replica.DecodeSlots, batch);
    }

    internal WorkloadSummary Work => _work;

    /// <summary>Seconds to move the KV cache of a mean prompt through the slowest port of a replica.</summary>
    internal double KvSeconds(ReplicaPlan replica)
    {
        double slowest = 0;
        foreach (StagePlan stage in replica.Stages)
        {
            double port = _network.PortBytesPerSecond(_index[stage.Device]);
            slowest = Math.Max(slowest, _work.PromptMean * _model.KvBytesPerTokenOf(stage.Layers) / port);
        }

        return slowest;
    }

    private static Dictionary<string, int> Index(Cluster cluster)
    {
        var index = new Dictionary<string, int>(cluster.Devices.Count, StringComparer.Ordinal);
        for (int i = 0; i < cluster.Devices.Count; i++)
        {
            index[cluster.Devices[i].Name] = i;
        }

        return index;
    }

    // Weights that do not fit beside the rest are read from host memory on every pass.
    private double Spill(ReplicaPlan replica, StagePlan stage, DeviceProfile device)
    {
        long over = MemoryBytes(replica, stage) - device.MemoryBytes;
        if (!_options.UseHostMemory || over <= 0 || device.HostMemoryBytes <= 0)
        {
            return 0;
        }

        // The planner spills whole layers.
        double layer = stage.Layers.Count > 0 ? (double)_model.WeightBytes(stage.Layers, false, false) / stage.Layers.Count : 1;
        return StageCost.SpillSeconds(device, Math.Ceiling(over / layer) * layer);
    }

    private (double Rate, double Latency, PlanBottleneck Bottleneck) Prefill(ReplicaPlan replica, int[] devices)
    {
        double busiest = 0, latency = 0, hidden = _work.PromptMean * _model.HiddenStateBytes;
        double chunks = _times.ChunksPerPrompt, longestPass = 0;
        var bottleneck = new PlanBottleneck { Kind = "stage", At = "" };
        void Consider(string kind, string at, double seconds)
        {
            if (seconds > busiest)
            {
                busiest = seconds;
                bottleneck = new PlanBottleneck { Kind = kind, At = at, Seconds = seconds };
            }
        }

        for (int j = 0; j < devices.Length; j++)
        {
            StagePlan stage = replica.Stages[j];
            DeviceProfile device = _cluster.Devices[devices[j]];
            double seconds = _times.Prefill(device, stage.Layers, stage.Embedding, stage.Head) + (chunks * Spill(replica, stage, device));
            Consider("stage", stage.Device, seconds);
            latency += seconds / chunks;
            longestPass = Math.Max(longestPass, seconds / chunks);
            bool last = j == devices.Length - 1;
            double kv = replica.Role == ReplicaRole.Mixed ? 0 : _work.PromptMean * _model.KvBytesPerTokenOf(stage.Layers);
            Consider("link", stage.Device, (kv + (last ? 0 : hidden)) / _network.PortBytesPerSecond(devices[j]));
            if (!last)
            {
                NetworkLink link = Hop(devices, j, j + 1);
                Consider("link", $"{stage.Device}->{replica.Stages[j + 1].Device}", link.BusySeconds(hidden));
                latency += link.TransferSeconds(hidden / chunks);
                longestPass = Math.Max(longestPass, link.BusySeconds(hidden / chunks));
            }
        }

        // First pass through all stages, the others behind it at the pace of the slowest.
        return (1 / Math.Max(busiest, StageTimes.LeastSeconds), latency + ((chunks - 1) * longestPass), bottleneck);
    }

    private (double Rate, double Cycle, PlanBottleneck Bottleneck) Decode(ReplicaPlan replica, int[] devices)
    {
        int slots = Math.Max(1, replica.DecodeSlots), micro = Math.Min(devices.Length, slots), batch = (slots + micro - 1) / micro;
        double hidden = (double)batch * _model.HiddenStateBytes, sum = 0, slowest = 0, receive = 0;
        string at = "", receiver = "";
        bool slowestIsLink = false;
        for (int j = 0; j < devices.Length; j++)
        {
            StagePlan stage = replica.Stages[j];
            DeviceProfile device = _cluster.Devices[devices[j]];
            double seconds = _times.Decode(device, stage.Layers, stage.Embedding, stage.Head, batch) + Spill(replica, stage, device);
            sum += seconds;
            if (seconds > slowest)
            {
                (slowest, at, slowestIsLink) = (seconds, stage.Device, false);
            }

            double kv = replica.Role == ReplicaRole.Mixed
                ? 0 : _work.PromptMean * _model.KvBytesPerTokenOf(stage.Layers) / _network.PortBytesPerSecond(devices[j]);
            if (kv > receive)
            {
                (receive, receiver) = (kv, stage.Device);
            }

            if (devices.Length > 1)
            {
                bool last = j == devices.Length - 1;
                NetworkLink link = Hop(devices, j, last ? 0 : j + 1);
                sum += last ? link.RoundTripSeconds / 2 : link.TransferSeconds(hidden);
                double busy = last ? 0 : link.BusySeconds(hidden);
                if (busy > slowest)
                {
                    (slowest, at, slowestIsLink) = (busy, $"{stage.Device}->{replica.Stages[j + 1].Device}", true);
                }
            }
        }

        double cycle = Math.Max(Math.Max(sum, micro * slowest), StageTimes.LeastSeconds), rate = slots / (cycle * _work.OutputMean);
        if (receive > 0 && 1 / receive < rate)
        {
            return (1 / receive, cycle, new PlanBottleneck { Kind = "link", At = receiver, Seconds = receive });
        }

        return (rate, cycle, sum > micro * slowest
            ? new PlanBottleneck { Kind = "latency", At = replica.Name, Seconds = sum }
            : new PlanBottleneck { Kind = slowestIsLink ? "link" : "stage", At = at, Seconds = cycle });
    }

    private NetworkLink Hop(int[] devices, int from, int to) => _network[devices[from], devices[to]]
        ?? throw new ArgumentException($"'{_cluster.Devices[devices[from]].Name}' and '{_cluster.Devices[devices[to]].Name}' are not connected.");
}
