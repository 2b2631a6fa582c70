using E2LLM.Generation;
using E2LLM.Tests.Support;
using E2LLM.Tool.CommandLine;

namespace E2LLM.Tests.Samples;

public sealed class ChatCommandTests
{
    private static readonly string[] Greedy = ["chat", "--model", ToolRun.Q8Model, "--temperature", "0", "--max-tokens", "12"];

    [Fact]
    public async Task Chat_TwoTurns_ContinuesTheWholeConversation()
    {
        ToolRun run = await ToolRun.WithInput("Once upon a time\nThe next day\n", Greedy);
        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        string first = await ContinuationAsync("Once upon a time");
        string second = await ContinuationAsync($"Once upon a time\n\n{first}\n\nThe next day");
        Assert.Equal($"{first}\n{second}\n", run.Out);
        Assert.NotEqual(second, await ContinuationAsync("The next day"));
    }

    [Fact]
    public async Task Chat_Cleared_ForgetsAllButTheSystemText()
    {
        ToolRun run = await ToolRun.WithInput("Once upon a time\n/clear\nTom had a red ball\n/exit\nnever read\n", [.. Greedy, "--system", "A story."]);
        Assert.Equal(0, run.ExitCode);
        Assert.Equal(
            $"{await ContinuationAsync("A story.\n\nOnce upon a time")}\n{await ContinuationAsync("A story.\n\nTom had a red ball")}\n", run.Out);
    }

    [Fact]
    public async Task Chat_TurnThatIsTooLong_IsTakenBackAndTheConversationGoesOn()
    {
        ToolRun run = await ToolRun.WithInput($"{new string('x', 3000)}\n/nonsense\nOnce upon a time\n", Greedy);
        Assert.Equal(0, run.ExitCode);
        Assert.Equal(await ContinuationAsync("Once upon a time") + "\n", run.Out);
        Assert.Contains("/clear forgets the conversation.", run.Error, StringComparison.Ordinal);
        Assert.Contains("'/nonsense' is no command", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Chat_Interrupted_StopsTheAnswerAndGoesOn()
    {
        if (OperatingSystem.IsWindows())
        {
            Console.WriteLine("skipped: there are no such signals here");
            return;
        }

        // On a busy machine this process may sleep until the answer has ended: the signal then ends the program, as it should, and is tried again.
        bool stopped = false;
        for (int attempt = 0; attempt < 10 && !stopped; attempt++)
        {
            stopped = await StopsAndGoesOnAsync();
        }

        Assert.True(stopped);
    }

    private static async Task<bool> StopsAndGoesOnAsync()
    {
        await using ChildProcess chat = ChildProcess.Start(
            "dotnet", [typeof(ToolCommandLine).Assembly.Location, "chat", "--model", ToolRun.F32Model, "--temperature", "0", "--threads", "1"]);
        await chat.Input.WriteLineAsync("Once upon a time");
        await chat.UntilAsync(() => chat.Out.Length > 0, "the first piece of an answer");
        chat.Send(Signals.Interrupt);
        await chat.UntilAsync(() => chat.Error.Contains('\n') || chat.HasExited, "what the program says to that");
        if (!chat.Error.Contains('\n'))
        {
            return false;
        }

        Assert.Equal("[stopped]\n", chat.Error);
        await chat.Input.WriteLineAsync("/clear");
        await chat.Input.WriteLineAsync("Tom had a red ball");
        chat.Input.Close();
        Assert.Equal(0, await chat.WaitForExitAsync(ChildProcess.EventLimit));
        Assert.True(chat.Out.Split('\n')[1].Length > 20, chat.Out);
        return true;
    }

    private static async Task<string> ContinuationAsync(string prompt)
    {
        using TextGenerator generator = TextGenerator.Load(ToolRun.Q8Model);
        string text = "";
        await foreach (GeneratedToken token in generator.GenerateAsync(prompt, new GenerationOptions { MaxTokenCount = 12 }))
        {
            text += token.Text;
        }

        return text;
    }
}
