using System.Diagnostics;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Weights;

namespace E2LLM.Benchmarks;

/// <summary>Load, prefill and decode of a whole model, with the read rate of the same run beside the decode rate.</summary>
internal static class ModelBenchmark
{
    public static void Run(string path, int threads, int promptTokens, int generatedTokens)
    {
        long start = Stopwatch.GetTimestamp();
        using GgufFile file = GgufFile.Open(path);
        ModelShape shape = ModelShapeReader.Read(file);
        using ModelWeights weights = ModelWeights.Load(file, shape, new LayerRange(0, shape.LayerCount), embedding: true, head: true);
        Console.WriteLine($"{shape.Name}: loaded in {Stopwatch.GetElapsedTime(start).TotalSeconds:F1} s, {weights.Memory.TotalBytes / 1e6:F0} MB of weights for {file.FileBytes / 1e6:F0} MB of file");
        using var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = threads });
        int[] ids = [.. Enumerable.Range(0, Math.Max(promptTokens, generatedTokens)).Select(i => ((i * 7919) + 5) % shape.VocabularySize)];
        float[] hidden = new float[promptTokens * shape.HiddenSize], logits = new float[shape.VocabularySize];
        double layersAndHead = weights.Memory.LayerBytes + weights.Memory.HeadBytes + (shape.TiedHead ? weights.Memory.EmbeddingBytes : 0);
        for (int repeat = 0; repeat < 3; repeat++)
        {
            using KvCache sequence = executor.CreateSequence();
            double prefill = Time(() =>
            {
                executor.Embed(ids.AsSpan(0, promptTokens), hidden);
                executor.Forward([new SequenceSlice(sequence, promptTokens)], hidden);
            });
            double[] steps = [.. Enumerable.Range(0, generatedTokens).Select(i => Time(() =>
            {
                Span<float> row = hidden.AsSpan(0, shape.HiddenSize);
                executor.Embed(ids.AsSpan(i, 1), row);
                executor.Forward([new SequenceSlice(sequence, 1)], row);
                executor.ComputeLogits(row, logits);
            })).Order()];
            double median = steps[generatedTokens / 2];
            Console.WriteLine(
                $"{threads} threads: prefill of {promptTokens} {promptTokens / prefill:F1} tokens/s; decode median {1 / median:F2}, best {1 / steps[0]:F2} tokens/s "
                + $"({layersAndHead / median / 1e9:F1}, best {layersAndHead / steps[0] / 1e9:F1} GB/s of weights; one core reads {Calibration.ReadBytesPerSecond() / 1e9:F1} GB/s)");
        }
    }

    private static double Time(Action action)
    {
        long start = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }
}
