using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Tests.Support;
using E2LLM.Weights;

namespace E2LLM.Tests.Execution;

/// <summary>
/// The laws that make batching, recovery and splitting invisible: bit for bit, whatever the cut, the chunks, the batch and the threads. Lengths cross
/// several KV blocks (64) and attention segments (256).
/// </summary>
public sealed class LawsTests
{
    // Without SIMD a run is ten times slower: shorter there, one block boundary instead of a segment's.
    private static readonly int Length = Vector128.IsHardwareAccelerated ? 300 : 110;

    public static TheoryData<string, KvElementType> Cases => new()
    {
        { "f32", KvElementType.F32 }, { "q8_0", KvElementType.F16 },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void Forward_CutAnywhere_EqualsWhole(string type, KvElementType kv)
    {
        int[] ids = Ids(90, 1);
        float[] whole = Run(type, new ExecutorOptions { KvElementType = kv, ThreadCount = 1 }, [ids], [[90]])[0];
        using GgufFile file = GgufFile.Open(TestModel.OwnModel(type));
        ModelShape shape = ModelShapeReader.Read(file);
        for (int cut = 0; cut <= shape.LayerCount; cut++)
        {
            float[] hidden = new float[ids.Length * shape.HiddenSize];
            foreach (LayerRange range in new[] { new LayerRange(0, cut), new LayerRange(cut, shape.LayerCount) })
            {
                using ModelWeights weights = ModelWeights.Load(file, shape, range, embedding: range.Start == 0 && hidden[0] == 0, head: false);
                using var executor = new LayerRangeExecutor(weights, new ExecutorOptions { KvElementType = kv, ThreadCount = 1 });
                if (weights.HasEmbedding)
                {
                    executor.Embed(ids, hidden);
                }

                using KvCache sequence = executor.CreateSequence();
                executor.Forward([new SequenceSlice(sequence, ids.Length)], hidden);
            }

            AssertSameBits(whole, hidden, $"cut at {cut}");
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Forward_AnyChunking_EqualsSingleTokens(string type, KvElementType kv)
    {
        int[] ids = Ids(Length, 2);
        var options = new ExecutorOptions { KvElementType = kv, ThreadCount = 1 };
        float[] decoded = Run(type, options, [ids], [[.. Enumerable.Repeat(1, Length)]])[0];
        foreach (int[] chunks in new[] { [Length], Repeat(2), Repeat(3), Repeat(64), Repeat(65), [Length - 45, 1, 44], [1, Length - 1] })
        {
            AssertSameBits(decoded, Run(type, options, [ids], [chunks])[0], $"chunks of {chunks[0]}");
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Forward_MaxBatchTokenCount_ChangesNothing(string type, KvElementType kv)
    {
        int[] ids = Ids(Length, 3);
        float[] whole = Run(type, new ExecutorOptions { KvElementType = kv, ThreadCount = 1 }, [ids], [[Length]])[0];
        foreach (int most in new[] { 1, 7, 100 })
        {
            float[] pieces = Run(type, new ExecutorOptions { KvElementType = kv, ThreadCount = 1, MaxBatchTokenCount = most }, [ids], [[Length]])[0];
            AssertSameBits(whole, pieces, $"pieces of {most}");
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Forward_Batch_EqualsEachAlone(string type, KvElementType kv)
    {
        // A long prefill, a short one, and sequences that decode beside them.
        int[][] ids = [Ids(Length, 4), Ids(17, 5), Ids(70, 6), Ids(9, 7), Ids(3, 8)];
        int[][] chunks = [[Length - 100, 50, 25, 25], [17], [66, 1, 1, 1, 1], [5, 1, 1, 1, 1], [1, 1, 1]];
        var options = new ExecutorOptions { KvElementType = kv, ThreadCount = 1 };
        float[][] together = Run(type, options, ids, chunks);
        for (int i = 0; i < ids.Length; i++)
        {
            AssertSameBits(Run(type, options, [ids[i]], [[ids[i].Length]])[0], together[i], $"sequence {i}");
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Forward_ThreadCount_ChangesNothing(string type, KvElementType kv)
    {
        int[][] ids = [Ids(Length, 9), Ids(40, 10)];
        int[][] chunks = [[Length - 10, .. Enumerable.Repeat(1, 10)], [20, 20]];
        float[][] one = Run(type, new ExecutorOptions { KvElementType = kv, ThreadCount = 1 }, ids, chunks);
        foreach (int threads in new[] { 2, 3, 4 })
        {
            float[][] many = Run(type, new ExecutorOptions { KvElementType = kv, ThreadCount = threads }, ids, chunks);
            AssertSameBits(one[0], many[0], $"{threads} threads");
            AssertSameBits(one[1], many[1], $"{threads} threads");
        }
    }

    [Theory]
    [InlineData("f32", KvElementType.F32)]
    [InlineData("q8_0", KvElementType.F16)]
    [InlineData("q8_0", KvElementType.BF16)]
    [InlineData("q8_0", KvElementType.Q8_0)]
    public void Forward_CacheShippedMidway_EqualsCacheKept(string type, KvElementType kv)
    {
        int[] ids = Ids(130, 11);
        using var model = new TestModel(TestModel.OwnModel(type), new ExecutorOptions { KvElementType = kv, ThreadCount = 1 });
        using KvCache kept = model.Executor.CreateSequence(), shipped = model.Executor.CreateSequence();
        model.Hidden(kept, ids.AsSpan(0, 100));
        shipped.Reserve(100);
        for (int layer = 0; layer < model.Shape.LayerCount; layer++)
        {
            byte[] bytes = new byte[100 * kept.Layout.TokenBytes];
            kept.ReadKeys(layer, 0, 100, bytes);
            shipped.WriteKeys(layer, 0, 100, bytes);
            kept.ReadValues(layer, 0, 100, bytes);
            shipped.WriteValues(layer, 0, 100, bytes);
        }

        shipped.Extend(100);
        AssertSameBits(model.Hidden(kept, ids.AsSpan(100)), model.Hidden(shipped, ids.AsSpan(100)), "shipped");
    }

    [Fact]
    public void Forward_TruncatedAndRepeated_EqualsFirstTime()
    {
        int[] ids = Ids(100, 12);
        using var model = new TestModel(TestModel.OwnModel("q8_0"));
        using KvCache sequence = model.Executor.CreateSequence();
        float[] first = model.Hidden(sequence, ids);
        sequence.Truncate(37);
        float[] again = model.Hidden(sequence, ids.AsSpan(37));
        AssertSameBits(first[(37 * model.Shape.HiddenSize)..], again, "after truncation");
    }

    /// <summary>Hidden states of each sequence, which go through together in steps: step s takes chunk s of every sequence that has one.</summary>
    private static float[][] Run(string type, ExecutorOptions options, int[][] ids, int[][] chunks)
    {
        using var model = new TestModel(TestModel.OwnModel(type), options);
        int width = model.Shape.HiddenSize;
        KvCache[] sequences = [.. ids.Select(_ => model.Executor.CreateSequence())];
        List<float>[] results = [.. ids.Select(_ => new List<float>())];
        for (int step = 0; step < chunks.Max(list => list.Length); step++)
        {
            var slices = new List<SequenceSlice>();
            var tokens = new List<int>();
            var owners = new List<int>();
            for (int i = 0; i < ids.Length; i++)
            {
                if (step < chunks[i].Length)
                {
                    tokens.AddRange(ids[i].Skip(sequences[i].Length).Take(chunks[i][step]));
                    slices.Add(new SequenceSlice(sequences[i], chunks[i][step]));
                    owners.Add(i);
                }
            }

            float[] hidden = new float[tokens.Count * width];
            model.Executor.Embed(CollectionsMarshal.AsSpan(tokens), hidden);
            model.Executor.Forward(CollectionsMarshal.AsSpan(slices), hidden);
            int row = 0;
            for (int s = 0; s < slices.Count; s++)
            {
                results[owners[s]].AddRange(hidden.AsSpan(row * width, slices[s].TokenCount * width));
                row += slices[s].TokenCount;
            }
        }

        for (int i = 0; i < ids.Length; i++)
        {
            Assert.Equal(ids[i].Length, sequences[i].Length);
            sequences[i].Dispose();
        }

        return [.. results.Select(list => list.ToArray())];
    }

    private static void AssertSameBits(float[] expected, float[] actual, string what) =>
        Assert.True(MemoryMarshal.AsBytes(expected.AsSpan()).SequenceEqual(MemoryMarshal.AsBytes(actual.AsSpan())), what);

    private static int[] Repeat(int chunk) =>
        [.. Enumerable.Repeat(chunk, Length / chunk), .. Length % chunk == 0 ? Array.Empty<int>() : [Length % chunk]];

    private static int[] Ids(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(3, 2048))];
    }
}
