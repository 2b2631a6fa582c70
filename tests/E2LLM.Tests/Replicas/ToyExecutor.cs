using System.Runtime.InteropServices;
using E2LLM.KvCaching;
using E2LLM.Replicas.Connections;
using E2LLM.Replicas.Stages;

namespace E2LLM.Tests.Replicas;

/// <summary>
/// Layers that cost nothing and still depend on everything a real one depends on: each layer stores a key and a value made of its input, and its
/// output mixes the input with all keys and values so far. A token lost, doubled, shifted or taken from another sequence changes what follows.
/// </summary>
internal sealed class ToyExecutor : IStageExecutor, IDisposable
{
    public static ModelShape ToyShape(int layers) => new()
    {
        Name = "toy", Architecture = "llama", LayerCount = layers, HiddenSize = 8, HeadCount = 2, KvHeadCount = 2, HeadDim = 4,
        FeedForwardSize = 16, VocabularySize = 97, ContextLength = 4096, RopeDimensionCount = 4, RmsNormEpsilon = 1e-5f,
    };

    public ToyExecutor(int layerCount, LayerRange layers, int blockCount = 64, Func<nuint, nint>? allocate = null)
    {
        Shape = ToyShape(layerCount);
        Role = new StageRole(layers, layers.Start == 0, layers.End == layerCount);
        var layout = new KvCacheLayout(layers, 2, 4, KvElementType.F32);
        KvPool = allocate is null ? new KvCachePool(layout, blockCount) : new KvCachePool(layout, blockCount, allocate);
    }

    public ModelShape Shape { get; }

    public StageRole Role { get; }

    public KvCachePool KvPool { get; }

    public int MaxBatchTokenCount { get; init; } = 512;

    /// <summary>Called before each batch, on the stage's own thread.</summary>
    public Action? BeforeForward { get; set; }

    public Action<int>? LayerDone { get; set; }

    /// <summary>Called when a layer has stored the keys and values of a batch and has said so.</summary>
    public Action<int>? AfterLayer { get; set; }

    /// <summary>Makes the output senseless.</summary>
    public bool BreaksLogits { get; set; }

    public int ForwardCount { get; private set; }

    public int LargestBatch { get; private set; }

    /// <summary>Tokens computed.</summary>
    public int TokenCount { get; private set; }

    /// <summary>Tokens whose layer 0 was computed instead of moved.</summary>
    public int FirstLayerTokenCount { get; private set; }

    public void Embed(ReadOnlySpan<int> ids, Span<float> hidden)
    {
        for (int i = 0; i < ids.Length; i++)
        {
            for (int j = 0; j < 8; j++)
            {
                hidden[(i * 8) + j] = ((ids[i] * 31) + (j * 17)) % 101;
            }
        }
    }

    public void Forward(ReadOnlySpan<StageSlice> batch, Span<float> hidden, CancellationToken cancellationToken)
    {
        BeforeForward?.Invoke();
        ForwardCount++;
        LargestBatch = Math.Max(LargestBatch, batch.Length);
        float[] keys = [], values = [];
        foreach (StageSlice slice in batch)
        {
            slice.Sequence.Reserve(slice.Sequence.Length + slice.TokenCount);
            TokenCount += slice.TokenCount;
        }

        for (int layer = Role.Layers.Start; layer < Role.Layers.End; layer++)
        {
            int row = 0;
            foreach (StageSlice slice in batch)
            {
                RunLayer(layer, slice, hidden[(row * 8)..], ref keys, ref values);
                row += slice.TokenCount;
            }

            LayerDone?.Invoke(layer);
            AfterLayer?.Invoke(layer);
        }

        foreach (StageSlice slice in batch)
        {
            slice.Sequence.Extend(slice.Sequence.Length + slice.TokenCount);
        }
    }

    private static void RunLayer(int layer, StageSlice slice, Span<float> hidden, ref float[] keys, ref float[] values)
    {
        Span<float> key = stackalloc float[8], value = stackalloc float[8];
        KvCache cache = slice.Sequence;
        for (int t = 0; t < slice.TokenCount; t++)
        {
            int position = cache.Length + t, count = position + 1;
            Span<float> x = hidden.Slice(t * 8, 8);
            for (int j = 0; j < 8; j++)
            {
                key[j] = ((x[j] * 3) + layer + position) % 103;
                value[j] = ((x[7 - j] * 5) + j) % 107;
            }

            cache.WriteKeys(layer, position, 1, MemoryMarshal.AsBytes(key));
            cache.WriteValues(layer, position, 1, MemoryMarshal.AsBytes(value));
            Array.Resize(ref keys, count * 8);
            Array.Resize(ref values, count * 8);
            cache.ReadKeys(layer, 0, count, MemoryMarshal.AsBytes(keys.AsSpan()));
            cache.ReadValues(layer, 0, count, MemoryMarshal.AsBytes(values.AsSpan()));
            float sum = 0;
            for (int i = 0; i < count * 8; i++)
            {
                sum = (sum + (keys[i] * ((i % 5) + 1)) + (values[i] * ((i % 3) + 1))) % 8191;
            }

            for (int j = 0; j < 8; j++)
            {
                x[j] = (x[j] + sum + (j * layer)) % 109;
            }
        }
    }

    public void StoreFirstLayer(KvCache sequence, int firstPosition, ReadOnlySpan<int> ids)
    {
        FirstLayerTokenCount += ids.Length;
        float[] hidden = new float[ids.Length * 8];
        Embed(ids, hidden);
        Span<float> key = stackalloc float[8], value = stackalloc float[8];
        for (int t = 0; t < ids.Length; t++)
        {
            for (int j = 0; j < 8; j++)
            {
                key[j] = ((hidden[(t * 8) + j] * 3) + firstPosition + t) % 103;
                value[j] = ((hidden[(t * 8) + 7 - j] * 5) + j) % 107;
            }

            sequence.WriteKeys(0, firstPosition + t, 1, MemoryMarshal.AsBytes(key));
            sequence.WriteValues(0, firstPosition + t, 1, MemoryMarshal.AsBytes(value));
        }
    }

    public void ComputeLogits(ReadOnlySpan<float> hidden, Span<float> logits)
    {
        for (int r = 0; r < hidden.Length / 8; r++)
        {
            for (int id = 0; id < 97; id++)
            {
                float mix = 0;
                for (int j = 0; j < 8; j++)
                {
                    mix += hidden[(r * 8) + j] * (((id * (j + 3)) % 13) - 6);
                }

                logits[(r * 97) + id] = BreaksLogits && id == 5 ? float.NaN : mix % 41;
            }
        }
    }

    public void Dispose() => KvPool.Dispose();
}
