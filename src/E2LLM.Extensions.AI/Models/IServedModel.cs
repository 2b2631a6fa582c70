using E2LLM.Generation;
using E2LLM.Tokenization;

namespace E2LLM.Extensions.AI.Models;

/// <summary>A model that continues token ids, wherever it runs. Thread-safe.</summary>
internal interface IServedModel
{
    /// <summary>The name in the model's file.</summary>
    string Name { get; }

    ITokenizer Tokenizer { get; }

    /// <summary>The model's own template, null where it has none.</summary>
    ChatTemplate? Template { get; }

    /// <summary>What a caller may reach through <c>GetService</c>: the generator or the dispatcher.</summary>
    object Service { get; }

    IAsyncEnumerable<GeneratedToken> GenerateAsync(IReadOnlyList<int> promptIds, GenerationOptions options, CancellationToken cancellationToken);
}
