namespace E2LLM.Gguf;

/// <summary>
/// What this library can load, as data: the readers check against these lists, and the table in the project's README is
/// generated from them. Stateless; thread-safe.
/// </summary>
public static class SupportedModels
{
    /// <summary>Values of <c>general.architecture</c>.</summary>
    public static IReadOnlyList<string> Architectures { get; } = [.. ModelArchitecture.All.Select(known => known.Name)];

    /// <summary>Names of the tensor types that can be computed with.</summary>
    public static IReadOnlyList<string> TensorTypes { get; } = Enum.GetNames<TensorType>();

    /// <summary>Values of <c>tokenizer.ggml.model</c>.</summary>
    public static IReadOnlyList<string> TokenizerModels { get; } = ["llama", "gpt2"];

    /// <summary>Values of <c>tokenizer.ggml.pre</c> for the tokenizer model <c>gpt2</c>; SentencePiece has no pre-tokenizer.</summary>
    public static IReadOnlyList<string> PreTokenizers { get; } =
    [
        "llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "dbrx", "smaug-bpe", "glm4", "chatglm-bpe",
        "qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez", "kormo", "solar-open", "grok-2",
        "gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4", "gigachat", "a.x-4.0", "mellum",
        "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2",
    ];
}
