using System.Globalization;
using System.Text;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Weights;

namespace E2LLM.Benchmarks.KvTransfer;

/// <summary>What computing layer 0's keys and values where they are needed costs, beside reading the whole prompt and beside sending them.</summary>
internal static class KvFirstLayer
{
    private const int Tokens = 256, Chunk = 32;

    public static void Write(StringBuilder report, string[] models)
    {
        report.AppendLine("## Layer 0 computed instead of sent").AppendLine();
        report.AppendLine(CultureInfo.InvariantCulture, $"Prompt of {Tokens} tokens, F16, one thread: microseconds a token to read it (all layers), and to compute layer 0's keys and values alone, in pieces of {Chunk} tokens as a stage does; the least of 3 and of 9 runs.")
            .AppendLine("The prompt's keys and values hide behind the reading on links quicker than \"as they come\"; on slower ones the bytes saved are time saved. Below \"quicker to compute\" sending the layer takes longer than")
            .AppendLine("computing it. So leaving it out shortens the way on links slower than both, by one layer's share.").AppendLine();
        report.AppendLine("| model | reading, µs a token | layer 0, µs a token | part | bytes of layer 0 a token | of all | as they come, MB/s | quicker to compute below, MB/s |").AppendLine("|---|---|---|---|---|---|---|---|");
        foreach (string path in models)
        {
            using GgufFile file = GgufFile.Open(path);
            ModelShape shape = ModelShapeReader.Read(file);
            using ModelWeights weights = ModelWeights.Load(file, shape, new LayerRange(0, shape.LayerCount), true, false);
            using var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = 1, KvBlockCount = 16 });
            var random = new Random(1);
            int[] ids = [.. Enumerable.Range(0, Tokens).Select(_ => random.Next(shape.VocabularySize))];
            float[] hidden = new float[Tokens * shape.HiddenSize];
            double reading = Clock.Seconds(3, () =>
            {
                using KvCache sequence = executor.CreateSequence();
                executor.Embed(ids, hidden);
                executor.Forward([new SequenceSlice(sequence, Tokens)], hidden);
            }).Least / Tokens;
            double first = Clock.Seconds(9, () =>
            {
                using KvCache sequence = executor.CreateSequence();
                sequence.Reserve(Tokens);
                for (int at = 0; at < Tokens; at += Chunk)
                {
                    executor.StoreFirstLayer(sequence, at, ids.AsSpan(at, Chunk));
                }
            }).Least / Tokens;
            long bytes = 2L * shape.KvWidth * sizeof(ushort);
            report.AppendLine(CultureInfo.InvariantCulture,
                $"| {Path.GetFileNameWithoutExtension(path)} | {reading * 1e6:F1} | {first * 1e6:F2} | {100 * first / reading:F2} % | {bytes} | {100.0 / shape.LayerCount:F1} % | {bytes * shape.LayerCount / reading / 1e6:F2} | {bytes / first / 1e6:F1} |");
        }

        report.AppendLine();
    }
}
