using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Tests.Support;
using E2LLM.Weights;

namespace E2LLM.Tests.Execution;

/// <summary>The laws of execution for every tensor type, on a random model of two layers whose matrices all have that type.</summary>
public sealed class LawsByTypeTests
{
    // Two KV blocks and a bit; one and a bit where there is no SIMD.
    private static readonly int Length = Vector128.IsHardwareAccelerated ? 140 : 70;

    public static TheoryData<TensorType> Types => [.. Enum.GetValues<TensorType>()];

    [Theory]
    [MemberData(nameof(Types))]
    public void Forward_CutChunkedBatchedThreaded_EqualsWhole(TensorType type)
    {
        ModelShape shape = RandomModel.Llama() with { HiddenSize = 256, HeadCount = 4, KvHeadCount = 2, HeadDim = 64, RopeDimensionCount = 64, FeedForwardSize = 256 };
        byte[] bytes = new RandomModel(shape, seed: 5, type).File();
        using var whole = new Stages(bytes, threads: 1, [new LayerRange(0, 2)]);
        using var cut = new Stages(bytes, threads: 1, [new LayerRange(0, 1), new LayerRange(1, 2)]);
        using var threaded = new Stages(bytes, threads: 3, [new LayerRange(0, 2)]);
        int[] ids = Ids(Length, 1), other = Ids(Length, 2);
        float[] expected = whole.Run([ids], [Length])[0];
        Assert.All(expected, value => Assert.True(float.IsFinite(value)));
        Assert.NotEqual(expected[..shape.VocabularySize], expected[^shape.VocabularySize..]);

        AssertSameBits(expected, cut.Run([ids], [Length])[0], "cut between the layers");
        AssertSameBits(expected, whole.Run([ids], [67, 1, Length - 68])[0], "in chunks");
        AssertSameBits(expected, whole.Run([ids], [.. Enumerable.Repeat(1, Length)])[0], "token by token");
        AssertSameBits(expected, whole.Run([other, ids, other], [5, 60, Length - 65])[1], "in a batch");
        AssertSameBits(expected, threaded.Run([ids, other], [Length - 3, 1, 1, 1])[0], "three threads");
    }

    private static void AssertSameBits(float[] expected, float[] actual, string what) =>
        Assert.True(MemoryMarshal.AsBytes(expected.AsSpan()).SequenceEqual(MemoryMarshal.AsBytes(actual.AsSpan())), what);

    private static int[] Ids(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(50))];
    }

    /// <summary>Consecutive executors that together hold the model.</summary>
    private sealed class Stages : IDisposable
    {
        private readonly List<ModelWeights> _weights = [];
        private readonly List<LayerRangeExecutor> _executors = [];

        public Stages(byte[] bytes, int threads, LayerRange[] ranges)
        {
            using GgufFile file = GgufFile.Read(bytes);
            ModelShape shape = ModelShapeReader.Read(file);
            foreach (LayerRange range in ranges)
            {
                _weights.Add(ModelWeights.Load(file, shape, range, embedding: range.Start == 0, head: range.End == shape.LayerCount));
                _executors.Add(new LayerRangeExecutor(_weights[^1], new ExecutorOptions { ThreadCount = threads, KvElementType = KvElementType.F16 }));
            }
        }

        /// <summary>Logits of every position of each sequence; all sequences go through together, in the same chunks.</summary>
        public float[][] Run(int[][] sequences, int[] chunks)
        {
            ModelShape shape = _executors[0].Shape;
            KvCache[][] caches = [.. _executors.Select(executor => sequences.Select(_ => executor.CreateSequence()).ToArray())];
            List<float>[] results = [.. sequences.Select(_ => new List<float>())];
            int done = 0;
            foreach (int chunk in chunks)
            {
                float[] hidden = new float[sequences.Length * chunk * shape.HiddenSize];
                _executors[0].Embed(sequences.SelectMany(ids => ids.Skip(done).Take(chunk)).ToArray(), hidden);
                for (int stage = 0; stage < _executors.Count; stage++)
                {
                    _executors[stage].Forward(caches[stage].Select(cache => new SequenceSlice(cache, chunk)).ToArray(), hidden);
                }

                float[] logits = new float[sequences.Length * chunk * shape.VocabularySize];
                _executors[^1].ComputeLogits(hidden, logits);
                for (int i = 0; i < sequences.Length; i++)
                {
                    results[i].AddRange(logits.AsSpan(i * chunk * shape.VocabularySize, chunk * shape.VocabularySize));
                }

                done += chunk;
            }

            foreach (KvCache cache in caches.SelectMany(list => list))
            {
                cache.Dispose();
            }

            return [.. results.Select(list => list.ToArray())];
        }

        public void Dispose()
        {
            _executors.ForEach(executor => executor.Dispose());
            _weights.ForEach(weight => weight.Dispose());
        }
    }
}
