using System.Diagnostics;
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
        using Process chat = Process.Start(new ProcessStartInfo(
            "dotnet", [typeof(ToolCommandLine).Assembly.Location, "chat", "--model", ToolRun.F32Model, "--temperature", "0", "--threads", "1"])
        {
            RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false,
        })!;
        try
        {
            using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(1));
            await chat.StandardInput.WriteLineAsync("Once upon a time");
            await chat.StandardInput.FlushAsync(limit.Token);
            Assert.Equal(1, await chat.StandardOutput.ReadAsync(new char[1], limit.Token));
            Signals.Send(chat, Signals.Interrupt);
            string? said = await chat.StandardError.ReadLineAsync(limit.Token);
            if (said is null)
            {
                return false;
            }

            Assert.Equal("[stopped]", said);
            await chat.StandardInput.WriteLineAsync("/clear");
            await chat.StandardInput.WriteLineAsync("Tom had a red ball");
            chat.StandardInput.Close();
            string rest = await chat.StandardOutput.ReadToEndAsync(limit.Token);
            await chat.WaitForExitAsync(limit.Token);
            Assert.Equal(0, chat.ExitCode);
            Assert.True(rest.Split('\n')[1].Length > 20, rest);
            return true;
        }
        finally
        {
            chat.Kill(entireProcessTree: true);
        }
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
