using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.Tests.Support;
using E2LLM.Weights;

namespace E2LLM.Tests.Weights;

/// <summary>Layers that a device keeps and those that it loads anew give what a fresh load gives.</summary>
public sealed class WeightPartsTests
{
    [Theory]
    [InlineData(true), InlineData(false)]
    public void KeepAndJoin_EveryChangeOfLayers_IsBitForBitAFreshLoad(bool fromStream)
    {
        foreach (ModelShape shape in new[] { RandomModel.Llama(), RandomModel.Qwen2() with { TiedHead = true } })
        {
            using GgufFile file = GgufFile.Read(new RandomModel(shape, seed: 9).File());
            int count = shape.LayerCount;
            for (int i = 0; i < (count + 1) * (count + 1); i++)
            {
                // From [a, b) to [c, d), for all of them with a < b and c < d.
                (int a, int c) = (i % (count + 1), i / (count + 1));
                for (int b = a + 1; b <= count; b++)
                {
                    for (int d = c + 1; d <= count; d++)
                    {
                        Change(file, shape, new LayerRange(a, b), new LayerRange(c, d), fromStream);
                    }
                }
            }
        }
    }

    [Fact]
    public void Join_PartsThatDoNotFit_IsRefusedAndTheyStay()
    {
        using GgufFile file = GgufFile.Read(new RandomModel(RandomModel.Llama(), seed: 9).File());
        ModelShape shape = ModelShapeReader.Read(file);
        Assert.InRange(shape.LayerCount, 2, 100);
        using ModelWeights first = ModelWeights.Load(file, shape, new LayerRange(0, 1), true, true), last = ModelWeights.Load(file, shape, new LayerRange(1, 2), false, true);
        Assert.Contains("follow", Assert.Throws<ArgumentException>(() => ModelWeights.Join(last, first)).Message, StringComparison.Ordinal);
        Assert.Contains("head", Assert.Throws<ArgumentException>(() => ModelWeights.Join(first, last)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => ModelWeights.Join());
        Assert.False(first.IsDisposed || last.IsDisposed);
        using ModelWeights kept = last.Keep(new LayerRange(0, 2), true, false);
        Assert.Equal((new LayerRange(1, 2), false, true), (kept.Layers, kept.HasHead, last.IsDisposed));
        Assert.Throws<ObjectDisposedException>(() => last.Keep(default, false, false));
    }

    private static void Change(GgufFile file, ModelShape shape, LayerRange from, LayerRange to, bool fromStream)
    {
        int count = shape.LayerCount;
        ModelWeights kept = Load(from).Keep(to, to.Start == 0, to.End == count);
        Assert.Equal(from.Intersect(to).Count, kept.Layers.Count);
        List<ModelWeights> parts = [kept];
        foreach ((LayerRange missing, bool embedding, bool head) in E2LLM.Samples.EdgeCluster.Stages.WeightSource.Missing(kept, to, to.Start == 0, to.End == count))
        {
            parts.Insert(missing.Start < kept.Layers.Start ? 0 : parts.Count, Part(missing, embedding, head));
        }

        using ModelWeights joined = ModelWeights.Join(parts), fresh = Load(to);
        Assert.Equal((fresh.Layers, fresh.Memory, fresh.HasEmbedding, fresh.HasHead), (joined.Layers, joined.Memory, joined.HasEmbedding, joined.HasHead));
        Assert.Equal(Run(fresh), Run(joined));

        ModelWeights Load(LayerRange layers) => Part(layers, layers.Start == 0, layers.End == count);

        ModelWeights Part(LayerRange layers, bool embedding, bool head) => fromStream
            ? ModelWeights.Load(new SliceTests.OneWayStream(SliceTests.Slice(file, layers, embedding, head)), out _)
            : ModelWeights.Load(file, ModelShapeReader.Read(file), layers, embedding, head);
    }

    private static float[] Run(ModelWeights weights)
    {
        using var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = 1, KvBlockCount = 2 });
        using var sequence = executor.CreateSequence();
        float[] hidden = [.. Enumerable.Range(0, 3 * weights.Shape.HiddenSize).Select(i => (float)Math.Sin(i))];
        if (weights.HasEmbedding)
        {
            executor.Embed([1, 5, 3], hidden);
        }

        executor.Forward([new SequenceSlice(sequence, 3)], hidden);
        if (!weights.HasHead)
        {
            return hidden;
        }

        float[] logits = new float[3 * weights.Shape.VocabularySize];
        executor.ComputeLogits(hidden, logits);
        return logits;
    }
}
