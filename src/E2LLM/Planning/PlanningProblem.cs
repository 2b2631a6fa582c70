using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning.Partitioning;

namespace E2LLM.Planning;

/// <summary>Devices of the same costs. Immutable.</summary>
/// <param name="Profile">What they cost; the name is the first device's.</param>
/// <param name="Devices">Their indices in the cluster.</param>
internal sealed record DeviceClass(DeviceProfile Profile, int[] Devices);

/// <summary>
/// A planning run's input in the form that searches use. Immutable but for what it remembers, so not thread-safe. Devices that no plan can use (no memory for one layer) are left out.
/// Searches see one surrogate layer (mean time, largest memory): exact where layers are alike, and re-split with the real layers at the end where not.
/// </summary>
internal sealed class PlanningProblem
{
    private readonly bool _uniformLayers;
    private readonly Dictionary<(int Device, ReplicaRole Role, int Slots, int Batch), DeviceRow> _rows;

    public PlanningProblem(Cluster cluster, ModelCost model, Workload workload, PlannerOptions options, IReadOnlyList<int>? devices = null)
        : this(cluster, model, workload, options, new WorkloadSummary(workload, model, options), null, null, devices, model.HasUniformLayers, [])
    {
    }

    /// <summary>The part of <paramref name="whole"/> that has only <paramref name="devices"/>.</summary>
    public PlanningProblem(PlanningProblem whole, IReadOnlyList<int> devices, bool allowMixed)
        : this(
            whole.Cluster, whole.Model, whole.Workload, whole.Options with { AllowMixed = allowMixed }, whole.Work, whole.Times, whole.Network, devices,
            whole._uniformLayers, whole._rows)
    {
    }

    private PlanningProblem(
        Cluster cluster, ModelCost model, Workload workload, PlannerOptions options, WorkloadSummary work, StageTimes? times, LinkTable? network,
        IReadOnlyList<int>? devices, bool uniform, Dictionary<(int Device, ReplicaRole Role, int Slots, int Batch), DeviceRow> rows)
    {
        Cluster = cluster;
        Model = model;
        Workload = workload;
        Options = options;
        Work = work;
        Times = times ?? new StageTimes(model, Work);
        Network = network ?? new LinkTable(cluster);
        _uniformLayers = uniform;
        _rows = rows;
        Devices = Sorted(cluster, Network, devices);
        LinksUniform = Network.IsUniform(Devices);
        Link = Network.Best(Devices);
        Classes = Group(cluster, Devices, LinksUniform);
        LargestLayerBytes = 0;
        LargestKvBytes = 0;
        foreach (LayerCost layer in model.Layers)
        {
            LargestLayerBytes = Math.Max(LargestLayerBytes, layer.WeightBytes);
            LargestKvBytes = Math.Max(LargestKvBytes, layer.KvBytesPerToken);
        }
    }

    public Cluster Cluster { get; }

    public ModelCost Model { get; }

    public Workload Workload { get; }

    public PlannerOptions Options { get; }

    public WorkloadSummary Work { get; }

    public StageTimes Times { get; }

    public LinkTable Network { get; }

    /// <summary>Indices of the devices planned for, in canonical order: by what they are, not by name or position.</summary>
    public int[] Devices { get; }

    public bool LinksUniform { get; }

    /// <summary>The link between any two devices where all are alike, else the fastest of all (which only bounds from above).</summary>
    public NetworkLink Link { get; }

    public DeviceClass[] Classes { get; }

    public long LargestLayerBytes { get; }

    public long LargestKvBytes { get; }

    /// <summary>Whether all layers cost the same, so that the surrogate is the model itself.</summary>
    public bool LayersUniform => _uniformLayers;

    public int LayerCount => Model.LayerCount;

    public int MaxStageCount => Math.Min(Options.MaxStageCount, LayerCount);

    /// <summary>Costs of the devices of a class; computed once for this problem and all its parts.</summary>
    public DeviceRow Row(DeviceClass item, ReplicaRole role, int slots, int batch)
    {
        (int, ReplicaRole, int, int) key = (item.Devices[0], role, slots, batch);
        if (!_rows.TryGetValue(key, out DeviceRow? row))
        {
            _rows[key] = row = DeviceRow.Create(this, item.Profile, role, slots, batch);
        }

        return row;
    }

    /// <summary>Mean seconds of a layer for a whole prompt.</summary>
    public double MeanPrefillLayer(DeviceProfile device) => Mean(layer => Times.PrefillLayer(device, layer));

    /// <summary>Mean seconds of a layer for a decode step.</summary>
    public double MeanDecodeLayer(DeviceProfile device, int batch) => Mean(layer => Times.DecodeLayer(device, layer, batch));

    private double Mean(Func<LayerCost, double> seconds)
    {
        if (_uniformLayers)
        {
            return seconds(Model.Layers[0]);
        }

        double sum = 0, last = 0;
        LayerCost? previous = null, other = null;
        double otherLast = 0;
        foreach (LayerCost layer in Model.Layers)
        {
            // Two kinds of layers that alternate are the common case: remember both.
            if (layer != previous)
            {
                (previous, last, other, otherLast) = layer == other ? (other, otherLast, previous, last) : (layer, seconds(layer), previous, last);
            }

            sum += last;
        }

        return sum / Model.LayerCount;
    }

    private static int[] Sorted(Cluster cluster, LinkTable network, IReadOnlyList<int>? devices)
    {
        int[] order = devices is null ? [.. Enumerable.Range(0, cluster.Devices.Count)] : [.. devices];
        int[] positions = [.. Enumerable.Range(0, order.Length)];
        double[][] keys = Array.ConvertAll(order, device => Key(cluster, network, device));
        Array.Sort(positions, (x, y) =>
        {
            int byKey = Compare(keys[x], keys[y]);
            return byKey != 0 ? byKey : x.CompareTo(y);
        });
        return Array.ConvertAll(positions, position => order[position]);
    }

    private static double[] Key(Cluster cluster, LinkTable network, int device)
    {
        DeviceProfile profile = cluster.Devices[device];
        var key = new List<double>
        {
            -profile.ComputeFlopsPerSecond, -profile.MemoryBytesPerSecond, -profile.MemoryBytes, profile.StageOverheadSeconds,
            -profile.HostMemoryBytes, -profile.HostBytesPerSecond,
        };
        if (profile.Profile is { } measured)
        {
            key.Add(measured.HeadSeconds);
            key.Add(measured.EmbeddingSeconds);
            foreach (PrefillPoint point in measured.Prefill)
            {
                key.AddRange([point.ChunkTokens, point.ContextTokens, point.SecondsPerLayer]);
            }

            foreach (DecodePoint point in measured.Decode)
            {
                key.AddRange([point.Batch, point.ContextTokens, point.SecondsPerLayer]);
            }
        }

        key.Add(network.Signature(device));
        return [.. key];
    }

    private static int Compare(double[] x, double[] y)
    {
        for (int i = 0; i < Math.Min(x.Length, y.Length); i++)
        {
            int order = x[i].CompareTo(y[i]);
            if (order != 0)
            {
                return order;
            }
        }

        return x.Length.CompareTo(y.Length);
    }

    private static DeviceClass[] Group(Cluster cluster, int[] devices, bool linksUniform)
    {
        var classes = new List<(DeviceProfile Profile, List<int> Devices)>();
        foreach (int device in devices)
        {
            DeviceProfile profile = cluster.Devices[device];
            if (linksUniform && classes.Count > 0 && classes[^1].Profile with { Name = profile.Name } == profile)
            {
                classes[^1].Devices.Add(device);
            }
            else
            {
                classes.Add((profile, [device]));
            }
        }

        return [.. classes.Select(item => new DeviceClass(item.Profile, [.. item.Devices]))];
    }
}
