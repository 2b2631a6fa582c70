using System.CommandLine;
using E2LLM.Gguf;
using E2LLM.Tokenization;
using E2LLM.Tool.CommandLine;
using E2LLM.Tool.Running;

namespace E2LLM.Tool.Commands;

/// <summary>
/// <c>e2llm perplexity</c>: exp of the mean negative log-likelihood. The text is cut into windows of consecutive tokens, each with the
/// beginning-of-sequence token in front where the model has one; every token of a window but its first is scored.
/// </summary>
internal static class PerplexityCommand
{
    public static Command Create(ToolConsole console)
    {
        Option<string> model = ToolOptions.Model();
        var file = new Option<string>("--file") { Description = "A UTF-8 text.", HelpName = "F", Required = true };
        Option<int> window = ToolOptions.Count("--window", 512, "Tokens per window (default 512, at most the model's context).", least: 2);
        Option<int> threads = ToolOptions.Threads();
        Option<KvElementType> kv = ToolOptions.KvType(KvElementType.F32);
        Option<bool> json = ToolOptions.Json();
        var command = new Command("perplexity", "Says how well a model predicts a text.") { model, file, window, threads, kv, json };
        command.SetAction((parsed, ct) =>
        {
            string path = parsed.GetRequiredValue(model);
            ITokenizer tokenizer;
            int tokens;
            using (GgufFile gguf = GgufFile.Open(path))
            {
                tokenizer = TokenizerLoader.Load(gguf.Metadata);
                tokens = Math.Min(parsed.GetValue(window), ModelShapeReader.Read(gguf).ContextLength);
            }

            IReadOnlyList<int> ids = tokenizer.Encode(File.ReadAllText(parsed.GetRequiredValue(file)), addBos: false);
            using LayerPipeline pipeline = LoadingBar.While(console, progress => LayerPipeline.Load(path, [], parsed.GetValue(threads), parsed.GetValue(kv), tokens, progress, ct));
            (double sum, int count) = Score(pipeline, ids, tokens, tokenizer.AddsBos ? tokenizer.BosId : -1, console, ct);
            if (count == 0)
            {
                throw new ArgumentException("the text is too short: there is no token to score.");
            }

            double perplexity = Math.Exp(sum / count);
            if (parsed.GetValue(json))
            {
                console.WriteJson(writer =>
                {
                    writer.WriteStartObject();
                    writer.WriteNumber("perplexity", perplexity);
                    writer.WriteNumber("tokens", count);
                    writer.WriteEndObject();
                });
            }
            else
            {
                console.Out.WriteLine($"perplexity {perplexity:F4} over {count} tokens");
            }

            return Task.FromResult(0);
        });
        return command;
    }

    private static (double Sum, int Count) Score(
        LayerPipeline pipeline, IReadOnlyList<int> ids, int window, int bosId, ToolConsole console, CancellationToken ct)
    {
        using var progress = new ProgressBar(console);
        double sum = 0;
        int count = 0, own = bosId >= 0 ? window - 1 : window;
        for (int start = 0; start < ids.Count; start += own)
        {
            int[] part = [.. bosId >= 0 ? [bosId] : Array.Empty<int>(), .. ids.Skip(start).Take(own)];
            int position = 0;
            pipeline.Restart();
            pipeline.Append(part, LogitRows.All, row =>
            {
                if (++position < part.Length)
                {
                    sum += NegativeLogLikelihood(row, part[position]);
                    count++;
                }
            }, ct);
            progress.Report(Math.Min(start + own, ids.Count), ids.Count, "tokens");
        }

        return (sum, count);
    }

    /// <summary>-log softmax(row)[id] in double precision, with the maximum taken out first.</summary>
    private static double NegativeLogLikelihood(ReadOnlySpan<float> row, int id)
    {
        double max = double.NegativeInfinity, sum = 0;
        foreach (float value in row)
        {
            max = Math.Max(max, value);
        }

        foreach (float value in row)
        {
            sum += Math.Exp(value - max);
        }

        return max + Math.Log(sum) - row[id];
    }
}
