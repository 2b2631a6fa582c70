using E2LLM.Costs;

namespace E2LLM.Simulation.Models;

/// <summary>
/// Stage times from the shared cost model (<see cref="StageCost"/>): equal to it for a pass of prompt tokens alone or of decoding sequences alone.
/// A pass with both reads the weights once: <c>max((q + b) operations / flops, (W(q + b) + all keys and values) / bandwidth)</c> per layer.
/// Where a device has a measured profile, which knows only the two pure passes, a joint pass takes the sum of both.
/// Layers of one kind are counted, not walked; read bytes by token count are tabulated.
/// </summary>
internal sealed class CostStageTimes : StageTimes
{
    private const int TabulatedTokenCount = 2048;
    private readonly DeviceProfile _device;
    private readonly ModelCost _model;
    private readonly bool _embedding, _head;
    private readonly double _fixedSeconds;
    private readonly (LayerCost Layer, int Count, double[] ReadBytes)[] _kinds;

    /// <summary>Prepares the times of <paramref name="layers"/> on <paramref name="device"/>; <paramref name="spilledBytes"/> of weights lie in host memory.</summary>
    public CostStageTimes(DeviceProfile device, ModelCost model, LayerRange layers, bool embedding, bool head, double spilledBytes)
    {
        (_device, _model, _embedding, _head) = (device, model, embedding, head);
        _fixedSeconds = device.StageOverheadSeconds + StageCost.SpillSeconds(device, spilledBytes);
        _kinds = [.. Enumerable.Range(layers.Start, layers.Count).GroupBy(i => model.Layers[i]).Select(g => (g.Key, g.Count(), Tabulate(model, g.Key)))];
    }

    /// <inheritdoc/>
    public override double PassSeconds(int chunkTokens, double chunkContext, int decodeCount, double decodeContext, int headRows)
    {
        double seconds = _fixedSeconds;
        if (_embedding)
        {
            seconds += StageCost.EmbeddingSeconds(_device, _model, chunkTokens + decodeCount);
        }

        if (_head && headRows > 0)
        {
            seconds += StageCost.HeadSeconds(_device, _model, headRows);
        }

        foreach ((LayerCost layer, int count, double[] readBytes) in _kinds)
        {
            seconds += count * (_device.Profile is { } profile
                ? (chunkTokens > 0 ? profile.PrefillSeconds(chunkTokens, chunkContext) : 0)
                    + (decodeCount > 0 ? profile.DecodeSeconds(decodeCount, decodeContext) : 0)
                : LayerSeconds(layer, readBytes, chunkTokens, chunkContext, decodeCount, decodeContext));
        }

        return seconds;
    }

    private static double[] Tabulate(ModelCost model, LayerCost layer)
    {
        var bytes = new double[TabulatedTokenCount + 1];
        for (int tokens = 0; tokens < bytes.Length; tokens++)
        {
            bytes[tokens] = StageCost.ReadBytes(model, layer, tokens);
        }

        return bytes;
    }

    private double LayerSeconds(LayerCost layer, double[] readBytes, int chunkTokens, double chunkContext, int decodeCount, double decodeContext)
    {
        int tokens = chunkTokens + decodeCount;
        double flops = tokens * layer.FlopsPerToken, visiblePositions = 0;
        if (chunkTokens > 0)
        {
            flops += chunkTokens * layer.VisibleTokens(chunkContext + (chunkTokens / 2.0)) * layer.AttentionFlopsPerPair;
            visiblePositions = layer.VisibleTokens(chunkContext + chunkTokens);
        }

        if (decodeCount > 0)
        {
            double visible = decodeCount * layer.VisibleTokens(decodeContext);
            flops += visible * layer.AttentionFlopsPerPair;
            visiblePositions += visible;
        }

        double weights = tokens <= TabulatedTokenCount ? readBytes[tokens] : StageCost.ReadBytes(_model, layer, tokens);
        double bytes = weights + (visiblePositions * layer.KvBytesPerToken);
        return Math.Max(flops / _device.ComputeFlopsPerSecond, bytes / _device.MemoryBytesPerSecond);
    }
}
