using System.CommandLine;
using System.Text.Json;
using E2LLM.Costs;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Profiling;
using E2LLM.Samples;
using E2LLM.Tool.CommandLine;
using E2LLM.Weights;

namespace E2LLM.Tool.Commands;

/// <summary><c>e2llm profile</c>: measures this device by a few layers of a model; the result is an entry of <c>devices</c> in a cluster file.</summary>
internal static class ProfileCommand
{
    // Two, so that a pass's fixed part weighs half as much as with one, and a model far larger than this device's memory can still be measured.
    private const int MeasuredLayerCount = 2;

    public static Command Create(ToolConsole console)
    {
        Option<string> model = ToolOptions.Model();
        Option<int> threads = ToolOptions.Threads();
        var name = new Option<string?>("--name") { Description = "Name of the device (default: this machine's).", HelpName = "D" };
        var output = new Option<string?>("--out") { Description = "Also write the device to a file.", HelpName = "device.json" };
        Option<int> repeat = ToolOptions.Count("--repeat", 5, "Timed passes of each point (default 5).");
        Option<KvElementType> kv = ToolOptions.KvType(KvElementType.F16);
        Option<bool> json = ToolOptions.Json();
        var command = new Command("profile", "Measures this device for a cluster file.") { model, threads, name, output, repeat, kv, json };
        command.SetAction((parsed, ct) =>
        {
            DeviceProfilerOptions options = new()
            {
                Name = parsed.GetValue(name) is { Length: > 0 } given ? given : Environment.MachineName,
                RepeatCount = parsed.GetValue(repeat),
            };
            DeviceProfile device = Measure(console, parsed.GetRequiredValue(model), parsed.GetValue(threads), parsed.GetValue(kv), options, ct);
            string text = device.ToJson();
            if (parsed.GetValue(output) is { } path)
            {
                File.WriteAllText(path, text + "\n");
            }

            if (parsed.GetValue(json))
            {
                using JsonDocument compact = JsonDocument.Parse(text);
                console.WriteJson(compact.RootElement.WriteTo);
            }
            else
            {
                console.Out.WriteLine(text);
            }

            return Task.FromResult(0);
        });
        return command;
    }

    private static DeviceProfile Measure(ToolConsole console, string path, int threads, KvElementType kv, DeviceProfilerOptions options, CancellationToken ct)
    {
        ModelCost cost = ModelCostFile.Read(path);
        using GgufFile file = GgufFile.Open(path);
        ModelShape shape = ModelShapeReader.Read(file);
        var layers = new LayerRange(0, Math.Min(MeasuredLayerCount, shape.LayerCount));
        using ModelWeights weights = LoadingBar.While(console, progress => ModelWeights.Load(file, shape, layers, embedding: true, head: true, progress, ct));
        using var executor = new LayerRangeExecutor(weights, new ExecutorOptions
        {
            ThreadCount = threads,
            KvElementType = kv,
            KvBlockCount = options.KvBlockCount(shape.ContextLength, KvCacheLayout.DefaultBlockTokenCount),
        });
        using var bar = new ProgressBar(console);
        return DeviceProfiler.Measure(executor, cost, options, new BarProgress(bar), ct);
    }

    private sealed class BarProgress(ProgressBar bar) : IProgress<ProfilingProgress>
    {
        public void Report(ProfilingProgress value) => bar.Report(value.DonePointCount, value.PointCount, value.Phase);
    }
}
