using System.Text.Json;
using E2LLM.Tests.Support;
using E2LLM.Tool.CommandLine;

namespace E2LLM.Tests.Samples;

/// <summary>One call of the command line tool, inside this process.</summary>
internal sealed record ToolRun(int ExitCode, string Out, string Error)
{
    public static string Q8Model { get; } = Repository.PathOf("samples/models/tinytales-3.9m-q8_0.gguf");

    public static string F32Model { get; } = Repository.PathOf("samples/models/tinytales-3.9m-f32.gguf");

    /// <summary>stdout as the one JSON value that it must be.</summary>
    public JsonElement Json
    {
        get
        {
            Assert.True(ExitCode == 0, Error);
            using JsonDocument document = JsonDocument.Parse(Out);
            return document.RootElement.Clone();
        }
    }

    public static async Task<ToolRun> Of(params string[] args) => await WithInput("", args);

    public static async Task<ToolRun> WithInput(string input, params string[] args)
    {
        using var output = new StringWriter { NewLine = "\n" };
        using var error = new StringWriter { NewLine = "\n" };
        int code = await ToolCommandLine.RunAsync(args, new ToolConsole(new StringReader(input), output, error));
        return new ToolRun(code, output.ToString(), error.ToString());
    }
}
