using System.CommandLine;
using System.Text.Json;
using E2LLM.Gguf;
using E2LLM.Tokenization;
using E2LLM.Tool.CommandLine;

namespace E2LLM.Tool.Commands;

/// <summary><c>e2llm tokenize</c>: text to token ids.</summary>
internal static class TokenizeCommand
{
    public static Command Create(ToolConsole console)
    {
        Option<string> model = ToolOptions.Model();
        var text = new Option<string?>("--text") { Description = "The text.", HelpName = "T" };
        var file = new Option<string?>("--file") { Description = "A UTF-8 file whose whole content is the text.", HelpName = "F" };
        var jsonl = new Option<bool>("--jsonl") { Description = "One JSON string per line on stdin, one array of ids per line on stdout." };
        var noBos = new Option<bool>("--no-bos") { Description = "Never put the beginning-of-sequence token in front." };
        var parseSpecial = new Option<bool>("--parse-special") { Description = "Text such as <s> becomes the control token of that name." };
        Option<bool> json = ToolOptions.Json();
        var command = new Command("tokenize", "Turns text into token ids.") { model, text, file, jsonl, noBos, parseSpecial, json };
        command.Validators.Add(result =>
        {
            int sources = (result.GetResult(text) is null ? 0 : 1) + (result.GetResult(file) is null ? 0 : 1) + (result.GetResult(jsonl) is null ? 0 : 1);
            if (sources != 1)
            {
                result.AddError("Give exactly one of --text, --file and --jsonl.");
            }
        });
        command.SetAction(parsed =>
        {
            using GgufFile gguf = GgufFile.Open(parsed.GetRequiredValue(model));
            ITokenizer tokenizer = TokenizerLoader.Load(gguf.Metadata);
            bool addBos = !parsed.GetValue(noBos), special = parsed.GetValue(parseSpecial);
            if (parsed.GetValue(jsonl))
            {
                TokenizeLines(console, line => tokenizer.Encode(line, addBos, special));
                return 0;
            }

            string content = parsed.GetValue(text) ?? File.ReadAllText(parsed.GetValue(file)!);
            IReadOnlyList<int> ids = tokenizer.Encode(content, addBos, special);
            if (parsed.GetValue(json))
            {
                console.WriteJson(ids);
            }
            else
            {
                console.Out.WriteLine(string.Join(',', ids));
            }

            return 0;
        });
        return command;
    }

    private static void TokenizeLines(ToolConsole console, Func<string, IReadOnlyList<int>> encode)
    {
        for (int number = 1; console.In.ReadLine() is { } line; number++)
        {
            console.WriteJson(encode(ReadString(line, number)));
        }
    }

    private static string ReadString(string line, int number)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(line);
            if (document.RootElement.ValueKind == JsonValueKind.String)
            {
                return document.RootElement.GetString()!;
            }
        }
        catch (Exception problem) when (problem is JsonException or InvalidOperationException)
        {
            throw new FormatException($"line {number} of the input is not a JSON string: {problem.Message}", problem);
        }

        throw new FormatException($"line {number} of the input is not a JSON string.");
    }
}
