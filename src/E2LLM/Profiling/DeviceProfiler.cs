using E2LLM.Costs;
using E2LLM.Execution;

namespace E2LLM.Profiling;

/// <summary>
/// Measures the device that it runs on by a model of reduced depth: embedding, one or two layers and head stand for all layers, since all are alike
/// (E2LLM, arXiv 2606.03770, section III). Stateless; thread-safe for different executors. Nothing else should use the device meanwhile.
/// </summary>
public static class DeviceProfiler
{
    private const int MostWarmUpPasses = 1000;

    // ClusterCheck takes relative errors below 1 only.
    private const double LargestErrorFraction = 0.99;

    /// <summary>Times prefill chunks, decode steps, the head and the embedding.</summary>
    /// <param name="executor">
    /// The layers to measure, with embedding and head; borrowed, must have no other sequences. Seconds of a layer are those of a pass divided by the layers,
    /// so what a pass costs besides its layers is counted with them.
    /// </param>
    /// <param name="model">What the whole model costs; from the same file. Gives the identity, and operations and bytes for the two speeds.</param>
    /// <param name="options">What to measure; null means the defaults.</param>
    /// <param name="progress">Told after each point.</param>
    /// <param name="cancellationToken">Looked at between layers and between passes.</param>
    /// <returns>
    /// A device with its measured profile. Seconds are medians; a pass that is larger in tokens (or sequences) and context is never reported as faster than a smaller
    /// one. The error is the median over all points of the robust relative spread of the repetitions. Compute speed is the best of the prefill points, memory speed the best
    /// of the decode points with the fewest sequences, both by the operations and bytes that <see cref="StageCost"/> counts. <c>headSeconds</c> is for one row;
    /// <c>embeddingSeconds</c> for the largest chunk, of which other numbers of tokens take their share.
    /// </returns>
    /// <exception cref="ArgumentException">The executor has no layers, embedding or head, is of another model than <paramref name="model"/>, or no point fits its KV pool; an option is out of range.</exception>
    /// <exception cref="OperationCanceledException">Cancelled; the executor can be used on.</exception>
    public static DeviceProfile Measure(
        LayerRangeExecutor executor, ModelCost model, DeviceProfilerOptions? options = null, IProgress<ProfilingProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(executor);
        ArgumentNullException.ThrowIfNull(model);
        options ??= new DeviceProfilerOptions();
        options.Validate();
        Check(executor, model);
        cancellationToken.ThrowIfCancellationRequested();

        List<(int Size, int Context)> chunks = Chunks(executor, options), steps = Steps(executor, options);
        int largestChunk = chunks.Max(point => point.Size);
        long evicted = Math.Min(options.EvictionBytes, OtherWeightBytes(executor, model));
        var timer = new PassTimer(options.TimeProvider, evicted, executor.ThreadCount, TimeSpan.FromSeconds(options.RestSeconds));
        using var passes = new ProfiledPasses(executor, Math.Max(largestChunk, steps.Max(point => point.Size)));
        var spreads = new List<double>();
        int pointCount = chunks.Count + steps.Count + 2;

        double Measure(string phase, Action prepare, Action pass)
        {
            Timing timing = timer.Measure(options.RepeatCount, prepare, pass, cancellationToken);
            spreads.Add(timing.SpreadFraction);
            progress?.Report(new ProfilingProgress(phase, spreads.Count, pointCount));
            return timing.Seconds;
        }

        WarmUp(passes, options, chunks[0].Size, largestChunk, cancellationToken);
        progress?.Report(new ProfilingProgress("warm-up", 0, pointCount));
        double[] prefill = [.. chunks.Select(point =>
        {
            passes.Fill(1, point.Context, cancellationToken);
            return Measure("prefill", () => passes.Prepare(point.Context, point.Size), () => passes.Forward(point.Size, cancellationToken)) / executor.Layers.Count;
        })];
        double[] decode = [.. steps.Select(point =>
        {
            passes.Fill(point.Size, point.Context, cancellationToken);
            return Measure("decode", () => passes.Prepare(point.Context, point.Size), () => passes.Forward(1, cancellationToken)) / executor.Layers.Count;
        })];
        double head = Measure("head", () => { }, passes.Head);
        double embedding = Measure("embedding", () => { }, () => passes.Embed(largestChunk));
        var profile = new MeasuredProfile
        {
            ModelIdentity = model.Name,
            ErrorFraction = Math.Min(LargestErrorFraction, PassTimer.Median([.. spreads])),
            Prefill = [.. Monotone(chunks, prefill).Select(point => new PrefillPoint(point.Size, point.Context, point.Seconds))],
            Decode = [.. Monotone(steps, decode).Select(point => new DecodePoint(point.Size, point.Context, point.Seconds))],
            HeadSeconds = head,
            EmbeddingSeconds = embedding,
        };
        return WithSpeeds(profile, executor, model, options);
    }

    /// <summary>Raises each time to that of every point which is smaller in both size and context.</summary>
    internal static IEnumerable<(int Size, int Context, double Seconds)> Monotone(List<(int Size, int Context)> points, double[] seconds) =>
        points.Select(point => (point.Size, point.Context, points
            .Select((other, i) => other.Size <= point.Size && other.Context <= point.Context ? seconds[i] : 0).Max()));

    private static void Check(LayerRangeExecutor executor, ModelCost model)
    {
        if (executor.Layers.Count == 0 || !executor.HasEmbedding || !executor.HasHead)
        {
            throw new ArgumentException($"The executor needs at least one layer, the embedding and the head; it has layers {executor.Layers}.", nameof(executor));
        }

        if (model.LayerCount != executor.Shape.LayerCount || model.HiddenSize != executor.Shape.HiddenSize || model.VocabularySize != executor.Shape.VocabularySize)
        {
            throw new ArgumentException(
                $"Expected the model of the executor ({executor.Shape.LayerCount} layers, width {executor.Shape.HiddenSize}, {executor.Shape.VocabularySize} tokens), "
                + $"got {model.LayerCount} layers, width {model.HiddenSize}, {model.VocabularySize} tokens.", nameof(model));
        }
    }

    /// <summary>Every depth has every chunk size: a depth with small chunks only would be extrapolated from them.</summary>
    private static List<(int Size, int Context)> Chunks(LayerRangeExecutor executor, DeviceProfilerOptions options)
    {
        int longest = executor.Shape.ContextLength, deepest = longest - Math.Min(options.ChunkTokenCounts.Max(), longest);
        return NotEmpty(
            [.. from context in options.ContextTokenCounts.Select(count => Math.Min(count, deepest)).Distinct().Order()
                from size in options.ChunkTokenCounts.Select(count => Math.Min(count, longest)).Distinct().Order()
                where executor.KvPool.BlocksFor(context + size) <= executor.KvPool.FreeBlockCount
                select (size, context)], "prefill chunk", executor);
    }

    private static List<(int Size, int Context)> Steps(LayerRangeExecutor executor, DeviceProfilerOptions options) => NotEmpty(
        [.. from context in options.ContextTokenCounts.Select(count => Math.Min(count, executor.Shape.ContextLength - 1)).Distinct().Order()
            from size in options.BatchSizes.Distinct().Order()
            where (long)size * executor.KvPool.BlocksFor(context + 1) <= executor.KvPool.FreeBlockCount
            select (size, context)], "decode step", executor);

    private static List<(int Size, int Context)> NotEmpty(List<(int Size, int Context)> points, string what, LayerRangeExecutor executor) => points.Count > 0
        ? points
        : throw new ArgumentException(
            $"No {what} of the options fits {executor.KvPool.FreeBlockCount} free blocks of the KV pool.", nameof(executor));

    /// <summary>Weights that pass through the caches between two visits to a measured layer when the whole model runs here.</summary>
    private static long OtherWeightBytes(LayerRangeExecutor executor, ModelCost model) =>
        model.WeightBytes(new LayerRange(0, model.LayerCount), embedding: false, head: true) - model.WeightBytes(executor.Layers, embedding: false, head: false);

    private static void WarmUp(ProfiledPasses passes, DeviceProfilerOptions options, int smallest, int largest, CancellationToken cancellationToken)
    {
        long began = options.TimeProvider.GetTimestamp();
        passes.Fill(1, 0, cancellationToken);
        for (int i = 0; i < MostWarmUpPasses && options.TimeProvider.GetElapsedTime(began).TotalSeconds < options.WarmUpSeconds; i++)
        {
            int tokens = i % 2 == 0 ? smallest : largest;
            passes.Prepare(0, tokens);
            passes.Forward(tokens, cancellationToken);
            passes.Head();
            passes.Embed(tokens);
        }
    }

    private static DeviceProfile WithSpeeds(MeasuredProfile profile, LayerRangeExecutor executor, ModelCost model, DeviceProfilerOptions options)
    {
        LayerCost layer = model.Layers[executor.Layers.Start];
        int smallest = profile.Decode.Min(point => point.Batch);
        double flops = profile.Prefill.Max(point =>
            point.ChunkTokens * (layer.FlopsPerToken + (layer.VisibleTokens(point.ContextTokens + (point.ChunkTokens / 2.0)) * layer.AttentionFlopsPerPair))
            / point.SecondsPerLayer);
        double bytes = profile.Decode.Where(point => point.Batch == smallest).Max(point =>
            (StageCost.ReadBytes(model, layer, point.Batch) + (point.Batch * layer.VisibleTokens(point.ContextTokens) * layer.KvBytesPerToken))
            / point.SecondsPerLayer);
        return new DeviceProfile
        {
            Name = options.Name,
            MemoryBytes = options.MemoryBytes ?? GC.GetGCMemoryInfo().TotalAvailableMemoryBytes,
            ComputeFlopsPerSecond = flops,
            MemoryBytesPerSecond = bytes,
            Profile = profile,
        };
    }
}
