using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Weights;

namespace E2LLM.Benchmarks;

/// <summary>
/// A model that is loaded once and measured on demand, one question a line and one JSON answer a line: what <c>benchmarks/peers/goals.mjs</c> talks to. Questions:
/// <c>about</c>, <c>calibrate THREADS</c>, <c>prefill THREADS TOKENS</c>, <c>decode THREADS DEPTH STEPS SEQUENCES</c>.
/// </summary>
internal sealed class ModelServer : IDisposable
{
    private const int PieceTokens = 512;
    private readonly GgufFile _file;
    private readonly ModelShape _shape;
    private readonly ModelWeights _weights;
    private readonly double _loadSeconds;
    private LayerRangeExecutor? _executor;

    private ModelServer(string path)
    {
        long start = Stopwatch.GetTimestamp();
        _file = GgufFile.Open(path);
        _shape = ModelShapeReader.Read(_file);
        _weights = ModelWeights.Load(_file, _shape, new LayerRange(0, _shape.LayerCount), embedding: true, head: true);
        _loadSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    public static void Run(string path, TextReader questions, TextWriter answers)
    {
        using var server = new ModelServer(path);
        answers.WriteLine(server.About());
        while (questions.ReadLine() is { } line)
        {
            string[] words = line.Split(' ');
            int[] n = [.. words.Skip(1).Select(word => int.Parse(word, CultureInfo.InvariantCulture))];
            answers.WriteLine((words[0], n.Length) switch
            {
                ("about", 0) => server.About(),
                ("calibrate", 1) => Calibrate(n[0]),
                ("prefill", 2) => Rate(server.Prefill(n[0], n[1])),
                ("decode", 4) => Rate(server.Decode(n[0], n[1], n[2], n[3])),
                _ => throw new ArgumentException($"Not a question: {line}"),
            });
        }
    }

    public void Dispose()
    {
        _executor?.Dispose();
        _weights.Dispose();
        _file.Dispose();
    }

    private static string Calibrate(int threads) => JsonSerializer.Serialize(new
    {
        readBytesPerSecond = Calibration.ReadBytesPerSecond(threads),
        floatOperationsPerSecond = Calibration.FloatOperationsPerSecond(threads),
        byteOperationsPerSecond = Calibration.ByteOperationsPerSecond(threads),
        pairOperationsPerSecond = Calibration.PairOperationsPerSecond(threads),
    });

    private static string Rate(double tokensPerSecond) => JsonSerializer.Serialize(new { tokensPerSecond });

    private string About() => JsonSerializer.Serialize(new
    {
        loadSeconds = _loadSeconds,
        fileBytes = _file.FileBytes,
        weightBytes = _weights.Memory.TotalBytes,
        residentBytes = Environment.WorkingSet,
        bytesPerToken = _weights.Memory.LayerBytes + _weights.Memory.HeadBytes + (_shape.TiedHead ? _weights.Memory.EmbeddingBytes : 0),
        kvBytesPerToken = new KvCacheLayout(new LayerRange(0, _shape.LayerCount), _shape.KvHeadCount, _shape.HeadDim, KvElementType.F16).BlockBytes / KvCacheLayout.DefaultBlockTokenCount,
        multiplicationsPerToken = 2.0 * Multiplications(),
    });

    private double Multiplications() => (_shape.LayerCount * (((double)_shape.HiddenSize * ((2 * _shape.QueryWidth) + (2 * _shape.KvWidth))) + (3.0 * _shape.HiddenSize * _shape.FeedForwardSize)));

    private double Prefill(int threads, int tokens)
    {
        LayerRangeExecutor runner = Executor(threads, tokens, 1);
        using KvCache sequence = runner.CreateSequence();
        float[] hidden = new float[tokens * _shape.HiddenSize], logits = new float[_shape.VocabularySize];
        int[] ids = Ids(tokens);
        long start = Stopwatch.GetTimestamp();
        runner.Embed(ids, hidden);
        runner.Forward([new SequenceSlice(sequence, tokens)], hidden);
        runner.ComputeLogits(hidden.AsSpan((tokens - 1) * _shape.HiddenSize), logits);
        return tokens / Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    private double Decode(int threads, int depth, int steps, int count)
    {
        LayerRangeExecutor runner = Executor(threads, depth + steps + 1, count);
        KvCache[] sequences = [.. Enumerable.Range(0, count).Select(_ => runner.CreateSequence())];
        float[] hidden = new float[count * _shape.HiddenSize], logits = new float[count * _shape.VocabularySize];
        SequenceSlice[] step = [.. sequences.Select(sequence => new SequenceSlice(sequence, 1))];
        int[] ids = Ids(steps + 1);
        foreach (KvCache sequence in sequences)
        {
            Fill(sequence, depth);
        }

        // The first step is not counted: it touches memory for the first time.
        long start = 0;
        for (int i = 0; i <= steps; i++)
        {
            start = i == 1 ? Stopwatch.GetTimestamp() : start;
            runner.Embed(Enumerable.Repeat(ids[i], count).ToArray(), hidden);
            runner.Forward(step, hidden);
            runner.ComputeLogits(hidden, logits);
        }

        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        foreach (KvCache sequence in sequences)
        {
            sequence.Dispose();
        }

        return count * steps / seconds;
    }

    /// <summary>Made-up keys and values: what they are changes no time, and computing them takes long.</summary>
    private static void Fill(KvCache sequence, int tokens)
    {
        if (tokens == 0)
        {
            return;
        }

        sequence.Reserve(tokens);
        byte[] data = new byte[tokens * sequence.Layout.TokenBytes];
        var random = new Random(3);
        for (int i = 0; i < data.Length; i += 2)
        {
            BitConverter.TryWriteBytes(data.AsSpan(i), (Half)(random.NextSingle() - 0.5f));
        }

        for (int layer = sequence.Layout.Layers.Start; layer < sequence.Layout.Layers.End; layer++)
        {
            sequence.WriteKeys(layer, 0, tokens, data);
            sequence.WriteValues(layer, 0, tokens, data);
        }

        sequence.Extend(tokens);
    }

    private LayerRangeExecutor Executor(int threads, int tokens, int sequences)
    {
        int blocks = sequences * (((tokens - 1) / KvCacheLayout.DefaultBlockTokenCount) + 1);
        if (_executor is null || _executor.ThreadCount != threads || _executor.KvPool.BlockCount < blocks)
        {
            _executor?.Dispose();
            _executor = new LayerRangeExecutor(
                _weights, new ExecutorOptions { ThreadCount = threads, KvElementType = KvElementType.F16, MaxBatchTokenCount = PieceTokens, KvBlockCount = Math.Max(blocks, 34) });
        }

        return _executor;
    }

    private int[] Ids(int count) => [.. Enumerable.Range(0, count).Select(i => ((i * 7919) + 13) % _shape.VocabularySize)];
}
