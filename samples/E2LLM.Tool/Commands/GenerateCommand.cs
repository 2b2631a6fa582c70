using System.CommandLine;
using System.Diagnostics;
using E2LLM.Gguf;
using E2LLM.Sampling;
using E2LLM.Tokenization;
using E2LLM.Tool.CommandLine;
using E2LLM.Tool.Running;

namespace E2LLM.Tool.Commands;

/// <summary><c>e2llm generate</c>: continues a prompt; the text streams unless JSON is wanted.</summary>
internal static class GenerateCommand
{
    public static Command Create(ToolConsole console)
    {
        Option<string> model = ToolOptions.Model();
        var prompt = new Option<string>("--prompt") { Description = "The text to continue.", HelpName = "P", Required = true };
        Option<int> maxTokens = ToolOptions.Count("--max-tokens", 128, "Most tokens to generate (default 128).");
        Option<float> temperature = ToolOptions.Number("--temperature", 0, "0 (default) always takes the best token.");
        Option<ulong> seed = ToolOptions.Seed("Seed of the sampling (default 1).");
        Option<int> threads = ToolOptions.Threads();
        Option<KvElementType> kv = ToolOptions.KvType(KvElementType.F32);
        Option<bool> json = ToolOptions.Json();
        var command = new Command("generate", "Continues a prompt.") { model, prompt, maxTokens, temperature, seed, threads, kv, json };
        command.SetAction((parsed, ct) =>
        {
            string path = parsed.GetRequiredValue(model);
            bool asJson = parsed.GetValue(json);
            using GgufFile file = GgufFile.Open(path);
            ITokenizer tokenizer = TokenizerLoader.Load(file.Metadata);
            int context = ModelShapeReader.Read(file).ContextLength;
            IReadOnlyList<int> promptIds = tokenizer.Encode(parsed.GetRequiredValue(prompt));
            if (promptIds.Count == 0 || promptIds.Count >= context)
            {
                throw new ArgumentException($"the prompt has {promptIds.Count} tokens; the model takes 1 to {context - 1}.");
            }

            // The last token is never run through the layers, so the sequence may be one longer than the cache.
            int limit = Math.Min(parsed.GetValue(maxTokens), context - promptIds.Count + 1);
            using LayerPipeline pipeline = LoadingBar.While(console, progress => LayerPipeline.Load(
                path, [], parsed.GetValue(threads), parsed.GetValue(kv), promptIds.Count + limit - 1, progress, ct));
            var sampling = new SamplingOptions { Temperature = parsed.GetValue(temperature), Seed = parsed.GetValue(seed) };
            Generation result = Generate(pipeline, tokenizer, promptIds, limit, sampling, asJson ? null : console.Out, ct);
            if (asJson)
            {
                console.WriteJson(writer =>
                {
                    writer.WriteStartObject();
                    writer.WriteIds("promptIds", promptIds);
                    writer.WriteIds("ids", result.Ids);
                    writer.WriteString("text", result.Text);
                    writer.WriteNumber("prefillSeconds", result.PrefillSeconds);
                    writer.WriteNumber("decodeSeconds", result.DecodeSeconds);
                    writer.WriteEndObject();
                });
            }
            else
            {
                console.Out.WriteLine();
            }

            return Task.FromResult(0);
        });
        return command;
    }

    private static Generation Generate(
        LayerPipeline pipeline, ITokenizer tokenizer, IReadOnlyList<int> promptIds, int limit, SamplingOptions sampling, TextWriter? stream, CancellationToken ct)
    {
        var ids = new List<int>();
        ITokenDecoder decoder = tokenizer.CreateDecoder();
        foreach (int id in promptIds)
        {
            // The text goes on where the prompt ends: the space before its first word belongs to it.
            decoder.Append(id);
        }

        var text = new System.Text.StringBuilder();
        void Take(ReadOnlySpan<float> logits)
        {
            int id = Sampler.Sample(logits, sampling, promptIds.Count + ids.Count);
            ids.Add(id);
            Emit(decoder.Append(id));
        }

        void Emit(string piece)
        {
            text.Append(piece);
            stream?.Write(piece);
            stream?.Flush();
        }

        long began = Stopwatch.GetTimestamp();
        pipeline.Append([.. promptIds], LogitRows.Last, Take, ct);
        double prefillSeconds = Stopwatch.GetElapsedTime(began).TotalSeconds;
        began = Stopwatch.GetTimestamp();
        while (ids.Count < limit && !tokenizer.IsEndOfGeneration(ids[^1]))
        {
            pipeline.Append([ids[^1]], LogitRows.Last, Take, ct);
        }

        Emit(decoder.Flush());
        return new Generation(ids, text.ToString(), prefillSeconds, Stopwatch.GetElapsedTime(began).TotalSeconds);
    }

    /// <param name="Ids">Generated ids, the one that ended the generation included.</param>
    /// <param name="Text">Their text.</param>
    /// <param name="PrefillSeconds">The prompt's pass and the choice of the first token.</param>
    /// <param name="DecodeSeconds">All later tokens.</param>
    private sealed record Generation(IReadOnlyList<int> Ids, string Text, double PrefillSeconds, double DecodeSeconds);
}
