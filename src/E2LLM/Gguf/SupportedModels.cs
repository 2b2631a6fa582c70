using System.Text;

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
        "tekken",
        "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2",
    ];

    /// <summary>The lists above as a Markdown table, for the README between <c>&lt;!-- support table --&gt;</c> and <c>&lt;!-- /support table --&gt;</c>.</summary>
    public static string ToMarkdown()
    {
        var table = new StringBuilder("| what | supported |\n| --- | --- |\n");
        foreach (ModelArchitecture architecture in ModelArchitecture.All)
        {
            Row($"architecture `{architecture.Name}`", architecture.Models);
        }

        Row("file format", "GGUF versions 2 and 3, little-endian");
        Row("tensor types", Codes(TensorTypes));
        Row("KV cache types", Codes(Enum.GetNames<KvElementType>()));
        Row("tokenizers", "SentencePiece BPE (`llama`), byte-level BPE (`gpt2`)");
        Row("pre-tokenizers of `gpt2`", Codes(PreTokenizers));
        Row("rotary scaling", "none, linear, Llama 3 frequency factors (`rope_freqs.weight`)");
        return table.ToString();

        void Row(string what, string supported) => table.Append("| ").Append(what).Append(" | ").Append(supported).Append(" |\n");
        static string Codes(IEnumerable<string> names) => string.Join(", ", names.Select(name => $"`{name}`"));
    }
}
