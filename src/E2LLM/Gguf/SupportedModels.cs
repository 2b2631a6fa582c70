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
    public static IReadOnlyList<string> TokenizerModels { get; } = ["llama"];
}
