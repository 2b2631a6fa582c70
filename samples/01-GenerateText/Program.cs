// Text in, text out, in one process.
// usage: GenerateText [MODEL.gguf [PROMPT]]
using E2LLM.Generation;
using E2LLM.Sampling;

string model = args.Length > 0 ? args[0] : Path.Combine(AppContext.BaseDirectory, "tinytales-3.9m-q8_0.gguf");
string prompt = args.Length > 1 ? args[1] : "Once upon a time";

using TextGenerator generator = TextGenerator.Load(model);
var options = new GenerationOptions
{
    MaxTokenCount = 100,
    Sampling = new SamplingOptions { Temperature = 0.7f, TopP = 0.95f, Seed = 7 },
};

// Ctrl-C ends the generation, not the program: the token goes to every awaited call.
using var stop = new CancellationTokenSource();
Console.CancelKeyPress += (_, press) => { press.Cancel = true; stop.Cancel(); };

Console.Write(prompt);
try
{
    await foreach (GeneratedToken token in generator.GenerateAsync(prompt, options, stop.Token))
    {
        Console.Write(token.Text);
        if (token.Finish is { } reason)
        {
            Console.WriteLine();
            Console.Error.WriteLine($"[ended by {reason}; {token.Position + 1} tokens with the prompt; {generator.Memory.TotalBytes / 1e6:F1} MB of weights]");
        }
    }
}
catch (OperationCanceledException)
{
    Console.Error.WriteLine(" [stopped]");
}
