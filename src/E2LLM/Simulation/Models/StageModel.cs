using E2LLM.Costs;
using E2LLM.Deployment;

namespace E2LLM.Simulation.Models;

/// <summary>One stage of a replica as the simulator sees it. Immutable.</summary>
internal sealed record StageModel
{
    /// <summary>Index of its device in the cluster, and the device's name.</summary>
    public required int Device { get; init; }

    public required string DeviceName { get; init; }

    public required LayerRange Layers { get; init; }

    public required StageTimes Times { get; init; }

    /// <summary>Bytes of keys and values that it can hold.</summary>
    public required double KvCapacityBytes { get; init; }

    /// <summary>Host bytes that sequences without room may be swapped to, and the speed of that.</summary>
    public double HostCapacityBytes { get; init; }

    public double HostBytesPerSecond { get; init; }

    /// <summary>Bytes of weights, which a new plan has to bring here.</summary>
    public double WeightBytes { get; init; }

    /// <summary>Layers that keep every position, and layers that keep a window: bytes per position of each.</summary>
    public required (int Window, double BytesPerToken)[] Kv { get; init; }

    /// <summary>Bytes of keys and values of one position in its last layer.</summary>
    public double LastLayerKvBytesPerToken { get; init; }

    /// <summary>Bytes of keys and values of a sequence of <paramref name="tokens"/> positions on this stage.</summary>
    public double KvBytes(int tokens)
    {
        double bytes = 0;
        foreach ((int window, double bytesPerToken) in Kv)
        {
            bytes += bytesPerToken * (window > 0 ? Math.Min(tokens, window) : tokens);
        }

        return bytes;
    }
}

/// <summary>One replica as the simulator sees it. Immutable.</summary>
internal sealed record ReplicaModel
{
    public required string Name { get; init; }

    public required ReplicaRole Role { get; init; }

    /// <summary>As planned.</summary>
    public required ReplicaPlan Plan { get; init; }

    /// <summary>Sequences that decode at once; at least 1 where the replica ever has to decode.</summary>
    public required int DecodeSlots { get; init; }

    /// <summary>Tokens of the largest pass that all its stages keep room for, see <see cref="StageMemory"/>; a prompt's pass is never larger.</summary>
    public int PassTokens { get; init; } = int.MaxValue;

    public required StageModel[] Stages { get; init; }

    /// <summary>Bytes of one hidden state on the way from stage to stage.</summary>
    public required double HiddenStateBytes { get; init; }

    /// <summary>Prompt tokens per second that routers reckon with.</summary>
    public required double PrefillTokensPerSecond { get; init; }

    /// <summary>Output tokens per second with all slots busy that routers reckon with.</summary>
    public required double DecodeTokensPerSecond { get; init; }

    /// <summary>Seconds of a decode step with so many sequences (index) at a middling context; empty: <c>slots / rate</c> for any number.</summary>
    public IReadOnlyList<double> StepSecondsBySequences { get; init; } = [];

    /// <summary>Seconds of a decode step with <paramref name="sequences"/> sequences, those beyond the slots aside.</summary>
    public double StepSeconds(int sequences) => StepSecondsBySequences.Count == 0
        ? DecodeSlots / DecodeTokensPerSecond
        : StepSecondsBySequences[Math.Clamp(sequences, 0, StepSecondsBySequences.Count - 1)];

    public bool ServesPrefill => Role != ReplicaRole.Decode;

    public bool ServesDecode => Role != ReplicaRole.Prefill;

    /// <summary>Positions of one sequence that the tightest stage can hold.</summary>
    public bool CanHold(int tokens)
    {
        foreach (StageModel stage in Stages)
        {
            if (stage.KvBytes(tokens) > stage.KvCapacityBytes)
            {
                return false;
            }
        }

        return true;
    }
}

/// <summary>The pieces of a KV cache that move between two replicas: the layers that a stage of one and a stage of the other share.</summary>
internal readonly record struct KvRoute(int FromStage, int FromDevice, int ToDevice, LayerRange Layers);

/// <summary>Bytes of keys and values of a range of positions, windows respected.</summary>
internal sealed class KvGeometry(IReadOnlyList<(int Window, double BytesPerToken)> layers)
{
    public static KvGeometry Of(ModelCost model) => new([.. model.Layers.Select(l => (l.Window, (double)l.KvBytesPerToken))]);

    public int LayerCount => layers.Count;

    /// <summary>Kinds of layers in a range, bytes per position summed by window.</summary>
    public (int Window, double BytesPerToken)[] Kinds(LayerRange range) =>
        [.. Enumerable.Range(range.Start, range.Count).GroupBy(i => layers[i].Window).Select(g => (g.Key, g.Sum(i => layers[i].BytesPerToken)))];

    /// <summary>Bytes of positions <c>[from, to)</c> of a prompt of <paramref name="total"/> positions: a window layer needs only the last of them.</summary>
    public double Bytes(LayerRange range, int from, int to, int total)
    {
        double bytes = 0;
        for (int i = range.Start; i < range.End; i++)
        {
            (int window, double perToken) = layers[i];
            int first = window > 0 ? Math.Max(from, total - window) : from;
            bytes += perToken * Math.Max(0, to - first);
        }

        return bytes;
    }
}
