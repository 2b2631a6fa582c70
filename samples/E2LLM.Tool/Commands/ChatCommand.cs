using System.CommandLine;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using E2LLM.Execution;
using E2LLM.Extensions.AI;
using E2LLM.Generation;
using E2LLM.Sampling;
using E2LLM.Tool.CommandLine;
using Microsoft.Extensions.AI;

namespace E2LLM.Tool.Commands;

/// <summary>
/// <c>e2llm chat</c>: a conversation, one line each turn, answers streamed. Ctrl-C stops an answer and keeps what was said; while the user types it ends
/// the program, as everywhere.
/// </summary>
internal static class ChatCommand
{
    public const string Name = "chat";

    private const string Lines = "/clear forgets the conversation, /exit leaves, /help shows this.";

    public static Command Create(ToolConsole console)
    {
        Option<string> model = ToolOptions.Model();
        var system = new Option<string?>("--system") { Description = "What the model is told before the conversation.", HelpName = "TEXT" };
        Option<int> maxTokens = ToolOptions.Count("--max-tokens", 512, "Most tokens of an answer (default 512).");
        Option<float> temperature = ToolOptions.Number("--temperature", 0.7f, "0 always takes the best token; more gives more variety (default 0.7).");
        Option<float> minP = ToolOptions.Number("--min-p", 0.05f, "Drops tokens less likely than this share of the best one (default 0.05).");
        Option<ulong> seed = ToolOptions.Seed("The same seed gives the same conversation (default 1).");
        Option<int> threads = ToolOptions.Threads();
        var command = new Command(Name, "Talks with a model.") { model, system, maxTokens, temperature, minP, seed, threads };
        command.SetAction(async (parsed, ct) =>
        {
            var generation = new GenerationOptions
            {
                MaxTokenCount = parsed.GetValue(maxTokens),
                Sampling = new SamplingOptions { Temperature = parsed.GetValue(temperature), MinP = parsed.GetValue(minP), Seed = parsed.GetValue(seed) },
            };
            generation.Validate();
            using TextGenerator generator = LoadingBar.While(console, progress => TextGenerator.Load(
                parsed.GetRequiredValue(model), new GeneratorOptions { Executor = new ExecutorOptions { ThreadCount = parsed.GetValue(threads) } }, progress, ct));
            using var client = new E2LLMChatClient(generator, new E2LLMChatClientOptions { Generation = generation });
            await TalkAsync(console, client, parsed.GetValue(system), ct);
            return 0;
        });
        return command;
    }

    private static async Task TalkAsync(ToolConsole console, IChatClient client, string? system, CancellationToken ct)
    {
        ChatMessage[] beginning = system is null ? [] : [new ChatMessage(ChatRole.System, system)];
        List<ChatMessage> conversation = [.. beginning];
        if (IsTerminal(console))
        {
            console.Error.WriteLine($"{client.GetService<ChatClientMetadata>()?.DefaultModelId}. {Lines}");
        }

        while (true)
        {
            Show(console, "> ");
            string? line = await console.In.ReadLineAsync(ct);
            switch (line?.Trim())
            {
                case null or "/exit":
                    return;
                case "":
                    break;
                case "/help":
                    console.Error.WriteLine(Lines);
                    break;
                case "/clear":
                    conversation = [.. beginning];
                    break;
                case var command when command.StartsWith('/'):
                    console.Error.WriteLine($"'{command}' is no command. {Lines}");
                    break;
                case var text:
                    conversation.Add(new ChatMessage(ChatRole.User, text));
                    await AnswerAsync(console, client, conversation, ct);
                    break;
            }
        }
    }

    /// <summary>Streams one answer and adds it to the conversation; without one the question is taken back.</summary>
    private static async Task AnswerAsync(ToolConsole console, IChatClient client, List<ChatMessage> conversation, CancellationToken ct)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(ct);
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, signal =>
        {
            signal.Cancel = true;
            stop.Cancel();
        });
        var answer = new StringBuilder();
        long began = Stopwatch.GetTimestamp();
        long? tokens = null;
        try
        {
            await foreach (ChatResponseUpdate update in client.GetStreamingResponseAsync(conversation, options: null, stop.Token))
            {
                answer.Append(update.Text);
                await console.Out.WriteAsync(update.Text);
                await console.Out.FlushAsync(ct);
                tokens = update.Contents.OfType<UsageContent>().FirstOrDefault()?.Details.OutputTokenCount ?? tokens;
            }

            await console.Out.WriteLineAsync();
            Show(console, $"[{tokens} tokens, {tokens / Stopwatch.GetElapsedTime(began).TotalSeconds:F1} tokens/s]\n");
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            await console.Out.WriteLineAsync();
            console.Error.WriteLine("[stopped]");
        }
        catch (ArgumentException problem)
        {
            console.Error.WriteLine($"e2llm: {problem.Message.ReplaceLineEndings(" ")} /clear forgets the conversation.");
        }

        await console.Out.FlushAsync(ct);
        if (answer.Length > 0)
        {
            conversation.Add(new ChatMessage(ChatRole.Assistant, answer.ToString()));
        }
        else
        {
            conversation.RemoveAt(conversation.Count - 1);
        }
    }

    private static bool IsTerminal(ToolConsole console) => console.ErrorColumns > 0;

    /// <summary>For people only: a pipe gets answers and nothing else.</summary>
    private static void Show(ToolConsole console, string text)
    {
        if (IsTerminal(console))
        {
            console.Error.Write(text);
        }
    }
}
