using System.CommandLine;
using E2LLM.Gguf;
using E2LLM.Tokenization;
using E2LLM.Tool.CommandLine;

namespace E2LLM.Tool.Commands;

/// <summary><c>e2llm detokenize</c>: token ids to text.</summary>
internal static class DetokenizeCommand
{
    public static Command Create(ToolConsole console)
    {
        Option<string> model = ToolOptions.Model();
        Option<int[]> ids = ToolOptions.Numbers("--ids", "Token ids.", required: true);
        Option<bool> json = ToolOptions.Json();
        var command = new Command("detokenize", "Turns token ids into text.") { model, ids, json };
        command.SetAction(parsed =>
        {
            using GgufFile file = GgufFile.Open(parsed.GetRequiredValue(model));
            string text = TokenizerLoader.Load(file.Metadata).Decode(parsed.GetRequiredValue(ids));
            if (parsed.GetValue(json))
            {
                console.WriteJson(writer =>
                {
                    writer.WriteStartObject();
                    writer.WriteString("text", text);
                    writer.WriteEndObject();
                });
            }
            else
            {
                console.Out.WriteLine(text);
            }

            return 0;
        });
        return command;
    }
}
