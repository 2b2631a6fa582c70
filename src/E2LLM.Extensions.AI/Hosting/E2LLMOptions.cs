using E2LLM.Generation;
using E2LLM.Replicas;

namespace E2LLM.Extensions.AI;

/// <summary>A model that a service offers: which one, where it runs, how it answers. Checked when the host starts.</summary>
public sealed class E2LLMOptions
{
    /// <summary>The model's GGUF file. Required; with a deployment only its metadata is read here.</summary>
    public string ModelPath { get; set; } = string.Empty;

    /// <summary>Threads, KV cache and batch size of a model in this process. Not looked at with a deployment.</summary>
    public GeneratorOptions Generator { get; set; } = new();

    /// <summary>How the chat client answers.</summary>
    public E2LLMChatClientOptions Chat { get; set; } = new();

    /// <summary>
    /// Connects to the replicas of a plan; null (default) loads the model into this process. Gets the service provider and the identity that
    /// every stage must hold; the container disposes of what it returns.
    /// </summary>
    public Func<IServiceProvider, ModelIdentity, CancellationToken, Task<Dispatcher>>? Deployment { get; set; }

    /// <summary>Whether the host waits for the model when it starts, and does not start without it. Default true; false brings it up with its first use.</summary>
    public bool LoadAtStart { get; set; } = true;

    /// <summary>What is wrong, one line each; empty where all is well.</summary>
    internal IEnumerable<string> Faults()
    {
        if (string.IsNullOrWhiteSpace(ModelPath))
        {
            yield return $"{nameof(ModelPath)} is required: the path of a GGUF file.";
        }
        else if (!File.Exists(ModelPath))
        {
            yield return $"{nameof(ModelPath)} names no file: {Path.GetFullPath(ModelPath)}.";
        }

        if (Fault(nameof(Generator), Generator, static options => options.Validate()) is { } generator)
        {
            yield return generator;
        }

        if (Fault(nameof(Chat), Chat, static options => options.Validate()) is { } chat)
        {
            yield return chat;
        }
    }

    private static string? Fault<T>(string name, T? options, Action<T> validate)
    {
        if (options is null)
        {
            return $"{name} is missing.";
        }

        try
        {
            validate(options);
            return null;
        }
        catch (ArgumentException error)
        {
            return $"{name}: {error.Message}";
        }
    }
}
