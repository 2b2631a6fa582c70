namespace E2LLM.Gguf;

/// <summary>
/// What a model family does differently, as data. Sources: the tensors and graphs that llama.cpp builds for the
/// architecture of that name (September 2026).
/// </summary>
internal sealed record ModelArchitecture(string Name)
{
    /// <summary>Which elements of a head are rotated together.</summary>
    public required RopeLayout RopeLayout { get; init; }

    /// <summary>Whether each layer has attn_q_norm and attn_k_norm.</summary>
    public bool HasQkNorm { get; init; }

    /// <summary>Whether rope_freqs.weight, where the file has it, divides the rotary frequencies.</summary>
    public bool TakesRopeFrequencyFactors { get; init; }

    /// <summary>What runs as this architecture, for the support table.</summary>
    public required string Models { get; init; }

    public static IReadOnlyList<ModelArchitecture> All { get; } =
    [
        new("llama")
        {
            RopeLayout = RopeLayout.Interleaved,
            TakesRopeFrequencyFactors = true,
            Models = "Llama 2, 3, 3.1, 3.2; Mistral 7B, Nemo; SmolLM; TinyLlama",
        },
        new("qwen2") { RopeLayout = RopeLayout.Halves, Models = "Qwen2, Qwen2.5 (dense)" },
        new("qwen3") { RopeLayout = RopeLayout.Halves, HasQkNorm = true, Models = "Qwen3 (dense)" },
    ];

    /// <exception cref="NotSupportedException">No such architecture is supported.</exception>
    public static ModelArchitecture Find(string name)
    {
        foreach (ModelArchitecture architecture in All)
        {
            if (architecture.Name == name)
            {
                return architecture;
            }
        }

        throw new NotSupportedException(
            $"Architecture '{name}' is not supported. Supported: {string.Join(", ", All.Select(known => known.Name))}.");
    }
}
