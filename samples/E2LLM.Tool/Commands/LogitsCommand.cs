using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text.Json;
using E2LLM.Tool.CommandLine;
using E2LLM.Tool.Running;

namespace E2LLM.Tool.Commands;

/// <summary><c>e2llm logits</c>: the scores after a sequence of ids, with the layers cut wherever the caller likes.</summary>
internal static class LogitsCommand
{
    public static Command Create(ToolConsole console)
    {
        Option<string> model = ToolOptions.Model();
        Option<int[]> ids = ToolOptions.Numbers("--ids", "Token ids of the sequence.", required: true);
        Option<int> top = ToolOptions.Count("--top", 10, "How many of the best tokens to show (default 10).");
        Option<int[]> split = ToolOptions.Numbers("--split", "Layers at which to cut the model into consecutive executors.", required: false);
        var all = new Option<bool>("--all") { Description = "Show every position, not only the last." };
        var raw = new Option<string?>("--raw") { Description = "Also write the whole rows to a file, as little-endian float32.", HelpName = "FILE" };
        Option<int> threads = ToolOptions.Threads();
        Option<KvElementType> kv = ToolOptions.KvType(KvElementType.F32);
        Option<bool> json = ToolOptions.Json();
        var command = new Command("logits", "Shows the best next tokens after a sequence of ids.") { model, ids, top, split, all, raw, threads, kv, json };
        command.SetAction((parsed, ct) =>
        {
            int[] sequence = parsed.GetRequiredValue(ids);
            if (sequence.Length == 0)
            {
                throw new UsageException("--ids is empty.");
            }

            using LayerPipeline pipeline = LoadingBar.While(console, progress => LayerPipeline.Load(
                parsed.GetRequiredValue(model), parsed.GetValue(split) ?? [], parsed.GetValue(threads), parsed.GetValue(kv), sequence.Length, progress, ct));
            using FileStream? rows = parsed.GetValue(raw) is { } path ? File.Create(path) : null;
            int count = Math.Min(parsed.GetValue(top), pipeline.Shape.VocabularySize);
            var positions = new List<TokenScore[]>();
            void Take(ReadOnlySpan<float> row)
            {
                rows?.Write(MemoryMarshal.AsBytes(row));
                positions.Add(TokenScore.Best(row, count));
            }

            pipeline.Append(sequence, parsed.GetValue(all) ? LogitRows.All : LogitRows.Last, Take, ct);
            Write(console, positions, parsed.GetValue(all), parsed.GetValue(json));
            return Task.FromResult(0);
        });
        return command;
    }

    private static void Write(ToolConsole console, List<TokenScore[]> positions, bool all, bool json)
    {
        if (!json)
        {
            for (int i = 0; i < positions.Count; i++)
            {
                string place = all ? $"{i,5}  " : "";
                console.Out.WriteLine(place + string.Join("  ", positions[i].Select(score => $"{score.Id}:{score.Logit:F4}")));
            }

            return;
        }

        console.WriteJson(writer =>
        {
            writer.WriteStartObject();
            if (all)
            {
                writer.WriteStartArray("positions");
                foreach (TokenScore[] best in positions)
                {
                    writer.WriteStartObject();
                    WriteTop(writer, best);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            }
            else
            {
                WriteTop(writer, positions[^1]);
            }

            writer.WriteEndObject();
        });
    }

    private static void WriteTop(Utf8JsonWriter writer, TokenScore[] best)
    {
        writer.WriteStartArray("top");
        foreach (TokenScore score in best)
        {
            writer.WriteStartObject();
            writer.WriteNumber("id", score.Id);
            writer.WriteNumber("logit", score.Logit);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
    }
}
