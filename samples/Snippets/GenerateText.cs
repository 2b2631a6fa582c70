using E2LLM.Generation;

namespace E2LLM.Samples.Snippets;

/// <summary>Text in, text out, in one process.</summary>
internal static class GenerateText
{
    public static async Task RunAsync(string modelPath, TextWriter output)
    {
        using TextGenerator generator = TextGenerator.Load(modelPath);
        await foreach (GeneratedToken token in generator.GenerateAsync("Once upon a time"))
        {
            output.Write(token.Text);
        }
    }
}
