using E2LLM.Costs;

namespace E2LLM.Planning;

/// <summary>
/// Seconds and bytes of stages under one workload: <see cref="StageCost"/> averaged over its prompts and contexts. Immutable; thread-safe.
/// A stage's time is affine in its layers: <c>overhead + sum of layer seconds (+ embedding) (+ head)</c>.
/// </summary>
internal sealed class StageTimes
{
    /// <summary>Nothing takes less: keeps the rates of absurdly fast devices finite.</summary>
    public const double LeastSeconds = 1e-12;

    /// <summary>What takes longer does not count as done: keeps the rates of absurdly slow devices numbers that can be divided.</summary>
    public const double MostSeconds = 1e100;

    private readonly WorkloadSummary _work;
    private readonly ModelCost _model;

    public StageTimes(ModelCost model, WorkloadSummary work)
    {
        _model = model;
        _work = work;
        ChunksPerPrompt = 0;
        foreach (double prompt in work.Prompts)
        {
            ChunksPerPrompt += Math.Ceiling(prompt / work.ChunkTokens) / work.Prompts.Length;
        }
    }

    /// <summary>Mean number of passes that a prompt needs.</summary>
    public double ChunksPerPrompt { get; }

    /// <summary>Seconds of one layer for a whole prompt, in the mean over prompts.</summary>
    public double PrefillLayer(DeviceProfile device, LayerCost layer)
    {
        double sum = 0;
        foreach (double prompt in _work.Prompts)
        {
            for (double start = 0; start < prompt; start += _work.ChunkTokens)
            {
                sum += StageCost.PrefillLayerSeconds(device, _model, layer, Math.Min(_work.ChunkTokens, prompt - start), start);
            }
        }

        return sum / _work.Prompts.Length;
    }

    /// <summary>Seconds of one layer for a decode step of <paramref name="batch"/> sequences of mean context.</summary>
    public double DecodeLayer(DeviceProfile device, LayerCost layer, int batch) =>
        StageCost.DecodeLayerSeconds(device, _model, layer, batch, _work.DecodeContext);

    /// <summary>Seconds of a stage for a whole prompt besides its layers: overhead of each pass, embedding, head for the last token.</summary>
    public double PrefillFixed(DeviceProfile device, bool embedding, bool head) => (ChunksPerPrompt * device.StageOverheadSeconds)
        + (embedding ? EmbeddingOfPrompt(device) : 0) + (head ? StageCost.HeadSeconds(device, _model, 1) : 0);

    /// <summary>Seconds of a stage for a decode step besides its layers.</summary>
    public double DecodeFixed(DeviceProfile device, bool embedding, bool head, int batch) => device.StageOverheadSeconds
        + (embedding ? StageCost.EmbeddingSeconds(device, _model, batch) : 0) + (head ? StageCost.HeadSeconds(device, _model, batch) : 0);

    public double Prefill(DeviceProfile device, LayerRange layers, bool embedding, bool head)
    {
        double seconds = PrefillFixed(device, embedding, head), layerSeconds = 0;
        LayerCost? previous = null;
        for (int i = layers.Start; i < layers.End; i++)
        {
            LayerCost layer = _model.Layers[i];
            layerSeconds = layer == previous ? layerSeconds : PrefillLayer(device, layer);
            previous = layer;
            seconds += layerSeconds;
        }

        return seconds;
    }

    public double Decode(DeviceProfile device, LayerRange layers, bool embedding, bool head, int batch)
    {
        double seconds = DecodeFixed(device, embedding, head, batch);
        for (int i = layers.Start; i < layers.End; i++)
        {
            seconds += DecodeLayer(device, _model.Layers[i], batch);
        }

        return seconds;
    }

    /// <summary>Bytes of a stage for a role; the one place that says what memory a plan needs.</summary>
    public long Memory(Deployment.ReplicaRole role, LayerRange layers, bool embedding, bool head, int slots, int batch)
    {
        long kvTokens = role switch
        {
            Deployment.ReplicaRole.Prefill => _work.PrefillKvTokens,
            Deployment.ReplicaRole.Decode => _work.DecodeKvTokens(slots),
            _ => _work.MixedKvTokens(slots),
        };
        (int tokens, int rows) = _work.LargestPass(role != Deployment.ReplicaRole.Decode, batch);
        return StageCost.MemoryBytes(_model, layers, embedding, head, kvTokens, tokens, rows);
    }

    private double EmbeddingOfPrompt(DeviceProfile device) => device.Profile is { } profile
        ? ChunksPerPrompt * profile.EmbeddingSeconds
        : StageCost.EmbeddingSeconds(device, _model, _work.PromptMean);
}
