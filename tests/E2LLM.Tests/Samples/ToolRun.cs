using System.Text.Json;
using E2LLM.Tests.Support;
using E2LLM.Tool.CommandLine;

namespace E2LLM.Tests.Samples;

/// <summary>One call of the command line tool, inside this process.</summary>
internal sealed record ToolRun(int ExitCode, string Out, string Error)
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

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

    /// <exception cref="TimeoutException">The call has not ended within <see cref="Limit"/>.</exception>
    public static async Task<ToolRun> WithInput(string input, params string[] args)
    {
        var output = new StringWriter { NewLine = "\n" };
        var error = new StringWriter { NewLine = "\n" };
        using var stop = new CancellationTokenSource(Limit);
        try
        {
            // On a thread of its own, since some commands compute on their caller's: a wait for them has a limit even if they hear nothing.
            int code = await Task.Run(() => ToolCommandLine.RunAsync(args, new ToolConsole(new StringReader(input), output, error), stop.Token)).WaitAsync(Limit + TimeSpan.FromSeconds(20));
            return new ToolRun(code, output.ToString(), error.ToString());
        }
        catch (TimeoutException)
        {
            throw new TimeoutException($"'e2llm {string.Join(' ', args)}' has not ended within {Limit.TotalMinutes} minutes.");
        }
    }
}
