using System.Diagnostics;
using System.Globalization;
using E2LLM.Costs;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.Profiling;
using E2LLM.Samples.EdgeCluster.Stages;
using E2LLM.Weights;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>
/// Profiles a stage by itself, in a process like the one that will serve it: its layers, with embedding and head, one thread, rests between passes as in a pipeline, and caches that other
/// stages' work has passed through meanwhile. Processor time is measured, so that stages may be profiled side by side: that is how they will work.
/// </summary>
internal static class ProfileProgram
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);

    /// <summary>The child's side: measures, and writes the device's profile to stdout.</summary>
    public static int Run(string[] arguments)
    {
        string device = arguments[0], modelPath = arguments[1];
        var layers = new LayerRange(int.Parse(arguments[2], CultureInfo.InvariantCulture), int.Parse(arguments[3], CultureInfo.InvariantCulture));
        var options = new DeviceProfilerOptions
        {
            Name = device,
            MemoryBytes = 1L << 30,
            ChunkTokenCounts = [1, 16, 32, StageFleet.ChunkTokens],
            ContextTokenCounts = [0, 96],
            BatchSizes = [1, 2, 4, 8],
            RepeatCount = 21,
            RestSeconds = 0.02,
            TimeProvider = ThreadClock.Instance,
        };
        using GgufFile file = GgufFile.Open(modelPath);
        ModelShape shape = ModelShapeReader.Read(file);
        using ModelWeights weights = ModelWeights.Load(file, shape, layers, true, true);
        using var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = 1, MaxBatchTokenCount = StageFleet.ChunkTokens });
        Console.WriteLine(DeviceProfiler.Measure(executor, ModelCostFile.Read(modelPath), options).ToJson());
        return 0;
    }

    /// <summary>The parent's side: runs such a child and reads what it measured.</summary>
    public static async Task<MeasuredProfile> MeasureAsync(string device, string modelPath, LayerRange layers, CancellationToken ct)
    {
        using Process process = StageProcess.StartProgram(["profile", device, modelPath, layers.Start.ToString(CultureInfo.InvariantCulture), layers.End.ToString(CultureInfo.InvariantCulture)]);
        try
        {
            string json = await process.StandardOutput.ReadToEndAsync(ct).WaitAsync(Limit, ct);
            await process.WaitForExitAsync(ct);
            return process.ExitCode == 0 ? DeviceProfile.Parse(json).Profile! : throw new IOException($"Profiling {device} ended with code {process.ExitCode}.");
        }
        catch
        {
            process.Kill(entireProcessTree: true);
            throw;
        }
    }
}
