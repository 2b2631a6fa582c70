using System.Buffers.Binary;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Weights;

namespace E2LLM.Samples.EdgeCluster.Stages;

/// <summary>A device's side of <see cref="WeightServer"/>: no file, only a stream to where one is.</summary>
internal sealed class WeightSource(StageSettings settings)
{
    private ModelIdentity? model;

    /// <summary>Which model it will be: a slice of no layers says that.</summary>
    public async Task<ModelIdentity> ReadIdentityAsync()
    {
        await using Stream stream = await AskAsync(new LayerRange(0, 0), embedding: false, head: false, CancellationToken.None);
        using var header = new MemoryStream();
        await stream.CopyToAsync(header);
        using GgufFile nothing = GgufFile.Read(header.ToArray());
        return model = ModelIdentityReader.Read(nothing);
    }

    /// <summary>Loads what a plan gives to this device: the delegate that the library asks for.</summary>
    public async ValueTask<LoadedStage> LoadAsync(LayerRange layers, bool embedding, bool head, CancellationToken ct)
    {
        await using Stream stream = await AskAsync(layers, embedding, head, ct);
        ModelIdentity? theirs = null;
        ModelWeights weights = await Task.Run(() => ModelWeights.Load(stream, out theirs, progress: new LoadingLines(settings.Device, layers), ct: ct), ct);
        if (model!.DifferencesFrom(theirs!).Count > 0)
        {
            weights.Dispose();
            throw new IOException("The host has another model than before.");
        }

        var executor = new LayerRangeExecutor(weights, new ExecutorOptions
        {
            // Several processes share this machine; one thread each is enough, and changes no result.
            ThreadCount = 1,
            MaxBatchTokenCount = StageFleet.ChunkTokens,
            KvBudgetBytes = Math.Max(0, settings.MemoryBytes - weights.Memory.TotalBytes),
        });

        byte[] answer = new byte[2 * sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(answer, weights.Memory.TotalBytes);
        BinaryPrimitives.WriteInt64LittleEndian(answer.AsSpan(sizeof(long)), executor.KvPool.BlockCount * executor.KvPool.Layout.BlockBytes);
        await stream.WriteAsync(answer, ct);

        // The host has noted it when it closes the stream.
        _ = await stream.ReadAtLeastAsync(answer, answer.Length, throwOnEndOfStream: false, ct);
        return new LoadedStage(executor, weights);
    }

    private async Task<Stream> AskAsync(LayerRange layers, bool embedding, bool head, CancellationToken ct)
    {
        Stream stream = await Loopback.ConnectAsync(settings.WeightPort, ct);
        new SliceRequest(settings.Device, layers, embedding, head).Write(stream);
        return stream;
    }
}
