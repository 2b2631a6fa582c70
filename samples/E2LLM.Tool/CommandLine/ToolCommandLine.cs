using System.CommandLine;
using E2LLM.Tool.Commands;

namespace E2LLM.Tool.CommandLine;

/// <summary>
/// The whole command line. Exit codes: 0, it worked; 1, it failed, with one line on the error stream that says why; 2, wrong usage.
/// </summary>
internal static class ToolCommandLine
{
    private const int Failed = 1, WrongUsage = 2;

    public static async Task<int> RunAsync(string[] args, ToolConsole console, CancellationToken ct = default)
    {
        RootCommand root = Create(console);

        // A prompt may begin with '@': no response files.
        ParseResult parsed = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null, EnablePosixBundling = false });
        if (parsed.Errors.Count > 0)
        {
            foreach (var problem in parsed.Errors)
            {
                await console.Error.WriteLineAsync($"e2llm: {OneLine(problem.Message)}");
            }

            string command = parsed.CommandResult.Command is RootCommand ? "" : parsed.CommandResult.Command.Name + " ";
            await console.Error.WriteLineAsync($"usage: e2llm {command}--help");
            return WrongUsage;
        }

        try
        {
            var invocation = new InvocationConfiguration { Output = console.Out, Error = console.Error, EnableDefaultExceptionHandler = false };
            if (parsed.CommandResult.Command.Name == ChatCommand.Name)
            {
                // Ctrl-C ends other commands; there it stops an answer.
                invocation.ProcessTerminationTimeout = null;
            }

            return await parsed.InvokeAsync(invocation, ct);
        }
        catch (UsageException problem)
        {
            await console.Error.WriteLineAsync($"e2llm: {OneLine(problem.Message)}");
            return WrongUsage;
        }
        catch (OperationCanceledException)
        {
            await console.Error.WriteLineAsync("e2llm: cancelled");
            return Failed;
        }
#pragma warning disable CA1031 // The last resort of a program: whatever failed, the caller gets one line and exit code 1.
        catch (Exception problem)
#pragma warning restore CA1031
        {
            await console.Error.WriteLineAsync($"e2llm: {OneLine(problem.Message)}");
            return Failed;
        }
        finally
        {
            await console.Out.FlushAsync(CancellationToken.None);
        }
    }

    internal static RootCommand Create(ToolConsole console)
    {
        var root = new RootCommand("Runs language models in GGUF files, on one machine or cut over several: look into models, run and measure them, plan and simulate clusters.")
        {
            InspectCommand.Create(console),
            SliceCommand.Create(console),
            TokenizeCommand.Create(console),
            DetokenizeCommand.Create(console),
            LogitsCommand.Create(console),
            GenerateCommand.Create(console),
            ChatCommand.Create(console),
            PerplexityCommand.Create(console),
            BenchCommand.Create(console),
            ProfileCommand.Create(console),
            PlanCommand.Create(console),
            SimulateCommand.Create(console),
        };
        root.HelpName = "e2llm";
        root.Directives.Clear();
        HelpText.Use(root);
        return root;
    }

    private static string OneLine(string message) => message.ReplaceLineEndings(" ");
}
