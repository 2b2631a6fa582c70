namespace E2LLM.Gguf;

/// <summary>Reads and checks the metadata keys that start with an architecture's name.</summary>
internal sealed class ArchitectureKeys(GgufMetadata metadata, string architecture)
{
    public string Architecture => architecture;

    public bool Has(string name) => metadata.Contains(Key(name));

    public GgufFormatException Fault(string name, string message) => metadata.Fault(Key(name), message);

    public int Positive(string name) => Check(name, metadata.GetInt32(Key(name)));

    public int Positive(string name, int fallback) => Has(name) ? Positive(name) : fallback;

    /// <summary>A number that some files give once and some per layer; only one value for all layers is supported.</summary>
    public int PositivePerLayer(string name, int layerCount, int? fallback)
    {
        if (!Has(name) && fallback is int known)
        {
            return known;
        }

        if (!Has(name) || metadata.GetValueType(Key(name)) != GgufValueType.Array)
        {
            return Positive(name);
        }

        IReadOnlyList<int> perLayer = metadata.GetInt32s(Key(name));
        if (perLayer.Count != layerCount)
        {
            throw Fault(name, $"{perLayer.Count} values for {layerCount} layers.");
        }

        foreach (int value in perLayer)
        {
            if (value != perLayer[0])
            {
                throw new NotSupportedException($"'{Key(name)}' differs between layers ({perLayer[0]} and {value}): that is not supported.");
            }
        }

        return Check(name, perLayer[0]);
    }

    public float PositiveNumber(string name, float? fallback)
    {
        if (!Has(name) && fallback is float known)
        {
            return known;
        }

        float number = metadata.GetSingle(Key(name));
        return float.IsFinite(number) && number > 0 ? number : throw Fault(name, $"expected a finite number above 0, found {number}.");
    }

    /// <summary>Throws for options that change the computation in a way that is not implemented: to ignore one would give wrong text.</summary>
    public void RejectUnsupportedOptions()
    {
        if (metadata.TryGetInt32(Key("expert_count"), out int experts) && experts != 0)
        {
            throw new NotSupportedException($"A mixture of {experts} experts ('{Key("expert_count")}') is not supported: dense models are.");
        }

        if (metadata.TryGetString(Key("rope.scaling.type"), out string? scaling) && scaling is not ("none" or "linear"))
        {
            throw new NotSupportedException($"Rope scaling '{scaling}' is not supported. Supported: none, linear, and llama 3 factors in rope_freqs.weight.");
        }

        if (metadata.TryGetSingle(Key("rope.scaling.attn_factor"), out float factor) && factor != 1)
        {
            throw new NotSupportedException($"'{Key("rope.scaling.attn_factor")}' of {factor} is not supported; 1 is.");
        }

        if (metadata.TryGetBoolean(Key("attention.causal"), out bool causal) && !causal)
        {
            throw new NotSupportedException("Attention that is not causal is not supported.");
        }
    }

    private int Check(string name, int value) => value > 0 ? value : throw Fault(name, $"expected a number above 0, found {value}.");

    private string Key(string name) => $"{architecture}.{name}";
}
