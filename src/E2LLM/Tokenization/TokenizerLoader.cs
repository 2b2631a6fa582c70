using E2LLM.Gguf;

namespace E2LLM.Tokenization;

/// <summary>Makes the tokenizer that a GGUF file describes. Stateless; thread-safe.</summary>
public static class TokenizerLoader
{
    /// <summary>Reads <c>tokenizer.ggml.*</c>; nothing else is needed.</summary>
    /// <exception cref="GgufFormatException">A key is missing or its value makes no sense.</exception>
    /// <exception cref="NotSupportedException">The tokenizer is of a kind that is not supported; names what was found and what is supported.</exception>
    public static ITokenizer Load(GgufMetadata metadata)
    {
        ArgumentNullException.ThrowIfNull(metadata);
        string model = metadata.GetString("tokenizer.ggml.model");
        return new GgufTokenizer(model switch
        {
            "llama" => new SentencePieceModel(metadata),
            "gpt2" => new ByteLevelBpeModel(metadata),
            _ => throw new NotSupportedException(
                $"Tokenizer '{model}' is not supported. Supported: {string.Join(", ", SupportedModels.TokenizerModels)}."),
        });
    }
}
