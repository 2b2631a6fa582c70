using E2LLM.Generation;
using E2LLM.Tokenization;

namespace E2LLM.Extensions.AI.Models;

/// <summary>A model in this process.</summary>
internal sealed class LocalModel(TextGenerator generator) : IServedModel
{
    public string Name => generator.Shape.Name;

    public ITokenizer Tokenizer => generator.Tokenizer;

    public ChatTemplate? Template => generator.ChatTemplate;

    public object Service => generator;

    public IAsyncEnumerable<GeneratedToken> GenerateAsync(IReadOnlyList<int> promptIds, GenerationOptions options, CancellationToken cancellationToken) =>
        generator.GenerateAsync(promptIds, options, cancellationToken);
}
