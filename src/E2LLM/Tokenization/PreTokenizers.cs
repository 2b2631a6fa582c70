using E2LLM.Gguf;

namespace E2LLM.Tokenization;

/// <summary>
/// The pre-tokenizers that <c>tokenizer.ggml.pre</c> may name. Which name means which pattern: llama.cpp's vocabulary loader
/// (September 2026). Its names are listed in <see cref="SupportedModels.PreTokenizers"/>; a test holds both lists together.
/// </summary>
internal static class PreTokenizers
{
    private static readonly PreTokenizer Gpt2 = new(WordPattern.Gpt2);
    private static readonly PreTokenizer Digits = new(WordPattern.Gpt2) { IsolatesDigits = true };
    private static readonly PreTokenizer Qwen2 = new(WordPattern.Llama3);
    private static readonly PreTokenizer ThreeDigits = new(WordPattern.Llama3) { MaxDigitCount = 3 };
    private static readonly PreTokenizer Llama3 = ThreeDigits with { TakesWholeWords = true, AddsBos = true };

    private static readonly PreTokenizer Tekken = new(WordPattern.Tekken) { TakesWholeWords = true, AddsBos = true };

    private static readonly Dictionary<string, PreTokenizer> ByName = new(StringComparer.Ordinal)
    {
        ["llama3"] = Llama3, ["llama-v3"] = Llama3, ["llama-bpe"] = Llama3, ["falcon3"] = Llama3, ["falcon-h1"] = Llama3,
        ["pixtral"] = Llama3, ["midm-2.0"] = Llama3, ["lfm2"] = Llama3,
        ["dbrx"] = ThreeDigits, ["smaug-bpe"] = ThreeDigits, ["glm4"] = ThreeDigits, ["chatglm-bpe"] = ThreeDigits,
        ["qwen2"] = Qwen2, ["deepseek-r1-qwen"] = Qwen2, ["stablelm2"] = Qwen2, ["hunyuan"] = Qwen2, ["megrez"] = Qwen2,
        ["kormo"] = Qwen2, ["solar-open"] = Qwen2, ["grok-2"] = Qwen2,
        ["gpt-2"] = Gpt2, ["phi-2"] = Gpt2, ["mpt"] = Gpt2, ["olmo"] = Gpt2, ["jais"] = Gpt2, ["trillion"] = Gpt2,
        ["granite-docling"] = Gpt2, ["exaone4"] = Gpt2, ["gigachat"] = Gpt2, ["a.x-4.0"] = Gpt2, ["mellum"] = Gpt2,
        ["tekken"] = Tekken,
        ["smollm"] = Digits, ["starcoder"] = Digits, ["refact"] = Digits, ["command-r"] = Digits, ["codeshell"] = Digits,
        ["exaone"] = Digits, ["minerva-7b"] = Digits, ["mellum2"] = Digits,
    };

    public static IReadOnlyCollection<string> Names => ByName.Keys;

    /// <exception cref="NotSupportedException">No such pre-tokenizer is supported.</exception>
    public static PreTokenizer Find(string name) => ByName.TryGetValue(name, out PreTokenizer? found)
        ? found
        : throw new NotSupportedException(
            $"Pre-tokenizer '{name}' is not supported. Supported: {string.Join(", ", SupportedModels.PreTokenizers)}.");
}
