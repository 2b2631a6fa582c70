using System.CommandLine;
using System.Diagnostics;
using E2LLM.Tool.CommandLine;
using E2LLM.Tool.Running;

namespace E2LLM.Tool.Commands;

/// <summary>
/// <c>e2llm bench</c>: medians over repetitions, after a warm-up. Prefill and decode both start at a depth; a batch runs that many
/// sequences side by side, and its speeds count the tokens of all of them.
/// </summary>
internal static class BenchCommand
{
    public static Command Create(ToolConsole console)
    {
        Option<string> model = ToolOptions.Model();
        Option<int> prompt = ToolOptions.Count("--prompt-tokens", 512, "Tokens of the prefill test (default 512).");
        Option<int> generate = ToolOptions.Count("--generate-tokens", 128, "Steps of the decode test (default 128).");
        Option<int> depth = ToolOptions.Count("--depth", 0, "Tokens already in the cache when a test starts (default 0).", least: 0);
        Option<int> batch = ToolOptions.Count("--batch", 1, "Sequences side by side (default 1).");
        Option<int> threads = ToolOptions.Threads();
        Option<int> repeat = ToolOptions.Count("--repeat", 5, "Repetitions (default 5).");
        Option<KvElementType> kv = ToolOptions.KvType(KvElementType.F16);
        Option<bool> json = ToolOptions.Json();
        var command = new Command("bench", "Measures prefill and decode speed.") { model, prompt, generate, depth, batch, threads, repeat, kv, json };
        command.SetAction((parsed, ct) =>
        {
            int promptTokens = parsed.GetValue(prompt), generateTokens = parsed.GetValue(generate), start = parsed.GetValue(depth);
            long began = Stopwatch.GetTimestamp();
            using SequenceBatch pipeline = LoadingBar.While(console, progress => SequenceBatch.Load(
                parsed.GetRequiredValue(model), parsed.GetValue(batch), parsed.GetValue(threads), parsed.GetValue(kv),
                start + Math.Max(promptTokens, generateTokens), progress, ct));
            double loadSeconds = Stopwatch.GetElapsedTime(began).TotalSeconds;

            using var progress = new ProgressBar(console);
            progress.Report(0, parsed.GetValue(repeat), "warming up");
            pipeline.Prefill(start, ct);
            WarmUp(pipeline, start, promptTokens, generateTokens, ct);
            var prefill = new double[parsed.GetValue(repeat)];
            var decode = new double[prefill.Length];
            for (int i = 0; i < prefill.Length; i++)
            {
                prefill[i] = pipeline.Count * promptTokens / SecondsOf(pipeline, start, () => pipeline.Prefill(promptTokens, ct));
                decode[i] = pipeline.Count * generateTokens / SecondsOf(pipeline, start, () => pipeline.Decode(generateTokens, ct));
                progress.Report(i + 1, prefill.Length, "measuring", $", prefill {prefill[i]:F1}, decode {decode[i]:F1} tokens/s");
            }

            progress.Dispose();
            Write(console, Median(prefill), Median(decode), loadSeconds, Environment.WorkingSet, parsed.GetValue(json));
            return Task.FromResult(0);
        });
        return command;
    }

    /// <summary>Long enough for the just-in-time compiler to have replaced its first code: at least half a second of both tests.</summary>
    private static void WarmUp(SequenceBatch pipeline, int start, int promptTokens, int generateTokens, CancellationToken ct)
    {
        long began = Stopwatch.GetTimestamp();
        do
        {
            SecondsOf(pipeline, start, () => pipeline.Prefill(promptTokens, ct));
            SecondsOf(pipeline, start, () => pipeline.Decode(generateTokens, ct));
        }
        while (Stopwatch.GetElapsedTime(began).TotalSeconds < 0.5);
    }

    private static double SecondsOf(SequenceBatch pipeline, int start, Action test)
    {
        pipeline.Truncate(start);
        long began = Stopwatch.GetTimestamp();
        test();
        return Stopwatch.GetElapsedTime(began).TotalSeconds;
    }

    private static double Median(double[] values)
    {
        double[] sorted = [.. values.Order()];
        int half = sorted.Length / 2;
        return sorted.Length % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
    }

    private static void Write(ToolConsole console, double prefill, double decode, double loadSeconds, long residentBytes, bool json)
    {
        if (!json)
        {
            console.Out.WriteLine($"prefill {prefill:F1} tokens/s, decode {decode:F1} tokens/s, loaded in {loadSeconds:F2} s, {residentBytes / 1e6:F0} MB resident");
            return;
        }

        console.WriteJson(writer =>
        {
            writer.WriteStartObject();
            writer.WriteNumber("prefillTokensPerSecond", prefill);
            writer.WriteNumber("decodeTokensPerSecond", decode);
            writer.WriteNumber("loadSeconds", loadSeconds);
            writer.WriteNumber("residentBytes", residentBytes);
            writer.WriteEndObject();
        });
    }
}
