using System.Buffers.Binary;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Weights;

namespace E2LLM.Samples.EdgeCluster.Stages;

/// <summary>A device's side of <see cref="WeightServer"/>: no file, only a stream to where one is. What a new plan leaves to the device is kept; only what it lacks comes.</summary>
internal sealed class WeightSource(StageSettings settings) : IDisposable
{
    private ModelIdentity? _model;
    private ModelWeights? _weights;

    public void Dispose() => _weights?.Dispose();

    /// <summary>Which model it will be: a slice of no layers says that.</summary>
    public async Task<ModelIdentity> ReadIdentityAsync()
    {
        await using Stream stream = await AskAsync(new LayerRange(0, 0), embedding: false, head: false, CancellationToken.None);
        using var header = new MemoryStream();
        await stream.CopyToAsync(header);
        using GgufFile nothing = GgufFile.Read(header.ToArray());
        return _model = ModelIdentityReader.Read(nothing);
    }

    /// <summary>Loads what a plan gives to this device: the delegate that the library asks for.</summary>
    public async ValueTask<LoadedStage> LoadAsync(LayerRange layers, bool embedding, bool head, CancellationToken ct)
    {
        // The library has let go of the layers by now: the executor that it had is disposed, its weights are ours.
        ModelWeights? kept = _weights?.Keep(layers, embedding, head);
        _weights = null;
        List<ModelWeights> parts = kept is null ? [] : [kept];
        try
        {
            foreach ((LayerRange missing, bool first, bool last) in Missing(kept, layers, embedding, head))
            {
                await using Stream brought = await AskAsync(missing, first, last, ct);
                parts.Insert(missing.Start < (kept?.Layers.Start ?? 0) ? 0 : parts.Count, await ReadAsync(brought, missing, ct));
            }

            _weights = ModelWeights.Join(parts);
        }
        catch
        {
            parts.ForEach(part => part.Dispose());
            throw;
        }

        var executor = new LayerRangeExecutor(_weights, new ExecutorOptions
        {
            // Several processes share this machine; one thread each is enough, and changes no result.
            ThreadCount = 1,
            MaxBatchTokenCount = StageFleet.ChunkTokens,
            KvBudgetBytes = Math.Max(0, settings.MemoryBytes - _weights.Memory.TotalBytes),
        });
        await TellAsync(new SliceRequest(settings.Device, layers, embedding, head), _weights.Memory.TotalBytes, executor.KvPool.BlockCount * executor.KvPool.Layout.BlockBytes, ct);
        return new LoadedStage(executor);
    }

    /// <summary>What is not held of a part: layers before and behind, the embedding with the first, the head with the last of them.</summary>
    internal static IEnumerable<(LayerRange Layers, bool Embedding, bool Head)> Missing(ModelWeights? kept, LayerRange layers, bool embedding, bool head)
    {
        bool lacksEmbedding = embedding && kept?.HasEmbedding != true, lacksHead = head && kept?.HasHead != true;
        LayerRange held = kept is { Layers.Count: > 0 } ? kept.Layers : new LayerRange(layers.End, layers.End);
        var before = new LayerRange(layers.Start, held.Start);
        var behind = new LayerRange(held.End, layers.End);
        if (before.Count > 0 || lacksEmbedding)
        {
            yield return (before, lacksEmbedding, lacksHead && behind.Count == 0);
        }

        if (behind.Count > 0 || (lacksHead && before.Count == 0 && !lacksEmbedding))
        {
            yield return (behind, false, lacksHead);
        }
    }

    private async Task<ModelWeights> ReadAsync(Stream stream, LayerRange layers, CancellationToken ct)
    {
        ModelIdentity? theirs = null;
        ModelWeights loaded = await Task.Run(() => ModelWeights.Load(stream, out theirs, progress: new LoadingLines(settings.Device, layers), cancellationToken: ct), ct);
        if (_model!.DifferencesFrom(theirs!).Count > 0)
        {
            loaded.Dispose();
            throw new IOException("The host has another model than before.");
        }

        return loaded;
    }

    /// <summary>Tells the host what is held now, on a connection that asks for nothing.</summary>
    private async Task TellAsync(SliceRequest whole, long weightBytes, long kvBytes, CancellationToken ct)
    {
        await using Stream stream = await AskAsync(new LayerRange(0, 0), embedding: false, head: false, ct);
        using var nothing = new MemoryStream();
        await stream.CopyToAsync(nothing, ct);
        whole.Write(stream);
        byte[] answer = new byte[2 * sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(answer, weightBytes);
        BinaryPrimitives.WriteInt64LittleEndian(answer.AsSpan(sizeof(long)), kvBytes);
        await stream.WriteAsync(answer, ct);

        // The host has noted it when it closes the stream.
        _ = await stream.ReadAtLeastAsync(answer, answer.Length, throwOnEndOfStream: false, ct);
    }

    private async Task<Stream> AskAsync(LayerRange layers, bool embedding, bool head, CancellationToken ct)
    {
        Stream stream = await Loopback.ConnectAsync(settings.WeightPort, ct);
        new SliceRequest(settings.Device, layers, embedding, head).Write(stream);
        return stream;
    }
}
