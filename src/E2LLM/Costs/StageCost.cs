namespace E2LLM.Costs;

/// <summary>
/// The two-phase cost model: seconds and bytes of a stage (a device with a range of layers). Planning and simulation use this one.
/// Stateless; thread-safe. Roofline: a pass takes the longer of arithmetic and of reading memory; a measured profile takes its place.
/// Sources: the roofline model (Williams et al., 2009); per-layer profiles as in E2LLM (arXiv 2606.03770, section III); expert coverage
/// from independent choices.
/// </summary>
internal static class StageCost
{
    /// <summary>
    /// Seconds of one layer for a prefill chunk of q tokens after x cached ones:
    /// <c>max((q F + q (x + q/2) A) / flops, (W(q) + KV(x + q)) / bandwidth)</c>, the attention term limited to the window where there is one.
    /// </summary>
    public static double PrefillLayerSeconds(DeviceProfile device, ModelCost model, LayerCost layer, double chunkTokens, double contextTokens)
    {
        if (device.Profile is { } profile)
        {
            return profile.PrefillSeconds(chunkTokens, contextTokens);
        }

        double visible = layer.VisibleTokens(contextTokens + (chunkTokens / 2));
        double flops = chunkTokens * (layer.FlopsPerToken + (visible * layer.AttentionFlopsPerPair));
        double bytes = ReadBytes(model, layer, chunkTokens) + (layer.KvBytesPerToken * layer.VisibleTokens(contextTokens + chunkTokens));
        return Math.Max(flops / device.ComputeFlopsPerSecond, bytes / device.MemoryBytesPerSecond);
    }

    /// <summary>
    /// Seconds of one layer for a decode step of b sequences with x cached tokens each:
    /// <c>max(b (F + x A) / flops, (W(b) + b KV(x)) / bandwidth)</c>.
    /// </summary>
    public static double DecodeLayerSeconds(DeviceProfile device, ModelCost model, LayerCost layer, double batch, double contextTokens)
    {
        if (device.Profile is { } profile)
        {
            return profile.DecodeSeconds(batch, contextTokens);
        }

        double visible = layer.VisibleTokens(contextTokens);
        double flops = batch * (layer.FlopsPerToken + (visible * layer.AttentionFlopsPerPair));
        double bytes = ReadBytes(model, layer, batch) + (batch * visible * layer.KvBytesPerToken);
        return Math.Max(flops / device.ComputeFlopsPerSecond, bytes / device.MemoryBytesPerSecond);
    }

    /// <summary>
    /// Seconds of final norm and head for <paramref name="rows"/> rows: <c>max(2 rows h V / flops, head bytes / bandwidth)</c>. Measured for one row only; more rows cost so many times as much as
    /// they do in a layer, whose weights are shared by its rows in the same way.
    /// </summary>
    public static double HeadSeconds(DeviceProfile device, ModelCost model, double rows) => device.Profile is { } profile
        ? profile.HeadSeconds * (rows > 1 && profile.DecodeSeconds(1, 0) is > 0 and var one ? profile.DecodeSeconds(rows, 0) / one : 1)
        : Math.Max(rows * model.HeadFlopsPerRow / device.ComputeFlopsPerSecond, model.HeadBytes / device.MemoryBytesPerSecond);

    /// <summary>Seconds of the embedding of <paramref name="rows"/> tokens: the bytes of those rows of the matrix, or their share of what was measured for the largest chunk.</summary>
    public static double EmbeddingSeconds(DeviceProfile device, ModelCost model, double rows) => device.Profile is { } profile
        ? profile.EmbeddingSeconds * rows / profile.LargestChunkTokens
        : rows * ((double)model.EmbeddingBytes / model.VocabularySize) / device.MemoryBytesPerSecond;

    /// <summary>
    /// Seconds of a stage for one prefill chunk: <c>overhead + layers + embedding + head</c>. The head runs for one row, and only
    /// for the last chunk of a prompt.
    /// </summary>
    public static double PrefillSeconds(
        DeviceProfile device, ModelCost model, LayerRange layers, bool embedding, bool head, int chunkTokens, double contextTokens)
    {
        double seconds = device.StageOverheadSeconds
            + (embedding ? EmbeddingSeconds(device, model, chunkTokens) : 0) + (head ? HeadSeconds(device, model, 1) : 0);
        for (int i = layers.Start; i < layers.End; i++)
        {
            seconds += PrefillLayerSeconds(device, model, model.Layers[i], chunkTokens, contextTokens);
        }

        return seconds;
    }

    /// <summary>Seconds of a stage for one decode step of <paramref name="batch"/> sequences with <paramref name="contextTokens"/> cached tokens each (their mean).</summary>
    public static double DecodeSeconds(
        DeviceProfile device, ModelCost model, LayerRange layers, bool embedding, bool head, int batch, double contextTokens)
    {
        double seconds = device.StageOverheadSeconds
            + (embedding ? EmbeddingSeconds(device, model, batch) : 0) + (head ? HeadSeconds(device, model, batch) : 0);
        for (int i = layers.Start; i < layers.End; i++)
        {
            seconds += DecodeLayerSeconds(device, model, model.Layers[i], batch, contextTokens);
        }

        return seconds;
    }

    /// <summary>Seconds added to every pass for weights that lie in host memory: <c>spilled bytes / host bandwidth</c>.</summary>
    public static double SpillSeconds(DeviceProfile device, double spilledBytes) => spilledBytes > 0 ? spilledBytes / device.HostBytesPerSecond : 0;

    /// <summary>
    /// Bytes of a stage: weights of its layers, embedding, head, keys and values of <paramref name="kvTokens"/> positions
    /// (all its sequences together; sliding windows are not deducted, so the figure is an upper bound there) and activations of a pass of <paramref name="chunkTokens"/>.
    /// </summary>
    /// <exception cref="OverflowException">More bytes than a <see cref="long"/> can say.</exception>
    public static long MemoryBytes(
        ModelCost model, LayerRange layers, bool embedding, bool head, long kvTokens, int chunkTokens, int logitsRows) => checked(
        model.WeightBytes(layers, embedding, head)
        + (model.KvBytesPerTokenOf(layers) * kvTokens)
        + model.ActivationBytes(chunkTokens, logitsRows, head));

    /// <summary>Bytes of a layer that a pass over <paramref name="tokens"/> tokens reads: dense weights, and the experts that are met.</summary>
    public static double ReadBytes(ModelCost model, LayerCost layer, double tokens) => layer.ExpertBytes == 0
        ? layer.WeightBytes
        : layer.WeightBytes - ((double)layer.ExpertBytes * (model.ExpertCount - model.ExpectedExperts(tokens)));
}
