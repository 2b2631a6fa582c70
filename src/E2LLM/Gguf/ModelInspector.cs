namespace E2LLM.Gguf;

/// <summary>What a GGUF file holds and whether this library can run it. Immutable; thread-safe.</summary>
public sealed record ModelInspection
{
    /// <summary>Value of <c>general.architecture</c>; empty where the file has none.</summary>
    public required string Architecture { get; init; }

    /// <summary>The model's shape; null where it cannot be told.</summary>
    public ModelShape? Shape { get; init; }

    /// <summary>Number of tensors of each type, by the type's name.</summary>
    public required IReadOnlyDictionary<string, int> TensorTypes { get; init; }

    /// <summary>Value of <c>tokenizer.ggml.model</c>, with <c>tokenizer.ggml.pre</c> after a slash where the file names one; empty where it has none.</summary>
    public required string Tokenizer { get; init; }

    /// <summary>Size of the file in bytes.</summary>
    public required long FileBytes { get; init; }

    /// <summary>Everything that stands in the way of loading the whole model, one sentence each; empty where nothing does.</summary>
    public required IReadOnlyList<string> Problems { get; init; }

    /// <summary>Whether nothing stands in the way of loading.</summary>
    public bool IsSupported => Problems.Count == 0;
}

/// <summary>Tells what is missing for a model before anything of it is loaded. Reads metadata and tensor table only. Stateless; thread-safe.</summary>
public static class ModelInspector
{
    /// <summary>Describes <paramref name="file"/>. What is unsupported or inconsistent becomes an entry in <see cref="ModelInspection.Problems"/>, not an exception.</summary>
    public static ModelInspection Inspect(GgufFile file)
    {
        ArgumentNullException.ThrowIfNull(file);
        var problems = new List<string>();
        ModelShape? shape = Try(() => ModelShapeReader.ReadMetadata(file), problems);
        if (file.Tensors.Count == 0)
        {
            problems.Add("The file has no tensors: it is a vocabulary, not a model.");
        }
        else if (shape is not null)
        {
            problems.AddRange(ModelTensors.FindProblems(file, shape).Select(problem => problem.Message));
        }

        string tokenizer = Try(() => DescribeTokenizer(file.Metadata, problems), problems) ?? string.Empty;
        return new ModelInspection
        {
            Architecture = Try(() => file.Metadata.GetString("general.architecture"), []) ?? string.Empty,
            Shape = shape,
            TensorTypes = file.Tensors.GroupBy(tensor => tensor.TypeName)
                .OrderBy(group => group.First().Type)
                .ToDictionary(group => group.Key, group => group.Count(), StringComparer.Ordinal),
            Tokenizer = tokenizer,
            FileBytes = file.FileBytes,
            Problems = problems,
        };
    }

    private static string DescribeTokenizer(GgufMetadata metadata, List<string> problems)
    {
        string model = metadata.GetString("tokenizer.ggml.model");
        bool hasPre = metadata.TryGetString("tokenizer.ggml.pre", out string? pre);
        if (!SupportedModels.TokenizerModels.Contains(model))
        {
            problems.Add($"Tokenizer '{model}' is not supported. Supported: {string.Join(", ", SupportedModels.TokenizerModels)}.");
        }
        else if (model == "gpt2" && !SupportedModels.PreTokenizers.Contains(pre ?? "none"))
        {
            problems.Add($"Pre-tokenizer '{pre ?? "none"}' is not supported. Supported: {string.Join(", ", SupportedModels.PreTokenizers)}.");
        }

        return hasPre ? $"{model}/{pre}" : model;
    }

    private static T? Try<T>(Func<T> read, List<string> problems)
        where T : class
    {
        try
        {
            return read();
        }
        catch (Exception error) when (error is GgufFormatException or NotSupportedException)
        {
            problems.Add(error.Message);
            return null;
        }
    }
}
