using System.Diagnostics;
using System.Globalization;
using E2LLM.Costs;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Profiling;
using E2LLM.Samples.EdgeCluster.Stages;
using E2LLM.Weights;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>
/// Profiles a stage by itself: its layers, with embedding and head, one thread, rests between passes as in a pipeline, and caches that other stages' work has passed through meanwhile.
/// Processor time is measured, so that stages may be profiled side by side: that is how they will work.
/// </summary>
internal static class ProfileProgram
{
    // Rests as long as a stage's between two passes, so that all stages together are as busy as when they serve; several rounds over all points, so that no point has one moment of the machine to itself.
    private const double RestSeconds = 0.05, RestBeforeHeadSeconds = 0.01;
    private const int RepeatCount = 7, RoundCount = 3;

    // Enough of each kind of pass, quickly one after another, for the just-in-time compiler to be through with it.
    private const int WarmUpRepeatCount = 60;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);

    /// <summary>A process of its own for a device that serves nothing: measures, and writes the device's profile to stdout.</summary>
    public static int Run(string[] arguments)
    {
        var layers = new LayerRange(int.Parse(arguments[2], CultureInfo.InvariantCulture), int.Parse(arguments[3], CultureInfo.InvariantCulture));
        using SteadyClock clock = SteadyClock.Of(arguments[1]);
        Console.WriteLine(Measure(arguments[0], arguments[1], layers, isFirst: false, clock).ToJson());
        return 0;
    }

    /// <summary>Measures in this process.</summary>
    /// <param name="device">Name of the result.</param>
    /// <param name="modelPath">The model's file.</param>
    /// <param name="layers">At least one.</param>
    /// <param name="isFirst">Whether the stage embeds: what embedding costs besides its tokens is paid in every pass then (<see cref="DeviceProfile.StageOverheadSeconds"/>).</param>
    /// <param name="clock">Counts work.</param>
    public static DeviceProfile Measure(string device, string modelPath, LayerRange layers, bool isFirst, TimeProvider clock)
    {
        var options = new DeviceProfilerOptions
        {
            Name = device,
            MemoryBytes = 1L << 30,
            ChunkTokenCounts = [1, 16, 32, StageFleet.ChunkTokens],
            ContextTokenCounts = [0, 96],
            BatchSizes = [1, 2, 4, 8],
            RepeatCount = RepeatCount,
            RestSeconds = RestSeconds,

            // Other stages' work passes through the caches while this one rests, as it will when they serve.
            EvictionBytes = 0,
            WarmUpSeconds = 0,
            TimeProvider = clock,
        };
        using GgufFile file = GgufFile.Open(modelPath);
        ModelShape shape = ModelShapeReader.Read(file);
        using ModelWeights weights = ModelWeights.Load(file, shape, layers, true, true);
        using var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = 1, MaxBatchTokenCount = StageFleet.ChunkTokens });
        ModelCost model = ModelCostFile.Read(modelPath);
        _ = DeviceProfiler.Measure(executor, model, options with { RepeatCount = WarmUpRepeatCount, RestSeconds = 0 });
        DeviceProfile[] rounds = [.. Enumerable.Range(0, RoundCount).Select(_ => DeviceProfiler.Measure(executor, model, options))];
        MeasuredProfile mean = Mean([.. rounds.Select(round => round.Profile!)]) with { HeadSeconds = HeadSeconds(executor, clock) };
        DeviceProfile profile = rounds[0] with { Profile = mean };
        return isFirst ? profile with { StageOverheadSeconds = EmbeddingFixedSeconds(executor, profile.Profile!, clock) } : profile;
    }

    /// <summary>The parent's side: runs such a child and reads what it measured.</summary>
    public static async Task<DeviceProfile> MeasureAsync(string device, string modelPath, LayerRange layers, CancellationToken ct)
    {
        using Process process = StageProcess.StartProgram(["profile", device, modelPath, layers.Start.ToString(CultureInfo.InvariantCulture), layers.End.ToString(CultureInfo.InvariantCulture)]);
        try
        {
            string json = await process.StandardOutput.ReadToEndAsync(ct).WaitAsync(Limit, ct);
            await process.WaitForExitAsync(ct);
            return process.ExitCode == 0 ? DeviceProfile.Parse(json) : throw new IOException($"Profiling {device} ended with code {process.ExitCode}.");
        }
        catch
        {
            process.Kill(entireProcessTree: true);
            throw;
        }
    }

    private static MeasuredProfile Mean(MeasuredProfile[] rounds) => rounds[0] with
    {
        ErrorFraction = rounds.Average(round => round.ErrorFraction),
        Prefill = [.. rounds[0].Prefill.Select((point, i) => point with { SecondsPerLayer = rounds.Average(round => round.Prefill[i].SecondsPerLayer) })],
        Decode = [.. rounds[0].Decode.Select((point, i) => point with { SecondsPerLayer = rounds.Average(round => round.Decode[i].SecondsPerLayer) })],
        HeadSeconds = rounds.Average(round => round.HeadSeconds),
        EmbeddingSeconds = rounds.Average(round => round.EmbeddingSeconds),
    };

    // A stage scores after its layers, which the emulation rests after: what they used is still in the caches then, unlike after a rest alone.
    private static double HeadSeconds(LayerRangeExecutor executor, TimeProvider clock)
    {
        using KvCache sequence = executor.CreateSequence();
        float[] hidden = new float[executor.Shape.HiddenSize], logits = new float[executor.Shape.VocabularySize];
        return MedianSeconds(
            () =>
            {
                sequence.Truncate(0);
                executor.Embed([1], hidden);
                executor.Forward([new SequenceSlice(sequence, 1)], hidden, CancellationToken.None);
                Thread.Sleep(TimeSpan.FromSeconds(RestBeforeHeadSeconds));
            },
            () => executor.ComputeLogits(hidden, logits), clock);
    }

    // A profile takes the embedding as proportional to its tokens; one token alone takes longer than its share of a chunk.
    private static double EmbeddingFixedSeconds(LayerRangeExecutor executor, MeasuredProfile profile, TimeProvider clock)
    {
        float[] hidden = new float[executor.Shape.HiddenSize];
        int token = 0;
        double one = MedianSeconds(() => token = (token + 89) % executor.Shape.VocabularySize, () => executor.Embed([token], hidden), clock);
        return Math.Max(0, one - (profile.EmbeddingSeconds / StageFleet.ChunkTokens));
    }

    private static double MedianSeconds(Action prepare, Action pass, TimeProvider clock)
    {
        double[] seconds = new double[RepeatCount * RoundCount];
        for (int i = 0; i < seconds.Length; i++)
        {
            Thread.Sleep(TimeSpan.FromSeconds(RestSeconds));
            prepare();
            long began = clock.GetTimestamp();
            pass();
            seconds[i] = clock.GetElapsedTime(began).TotalSeconds;
        }

        Array.Sort(seconds);
        return seconds[seconds.Length / 2];
    }
}
