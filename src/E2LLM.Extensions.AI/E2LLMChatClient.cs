using System.Runtime.CompilerServices;
using System.Text;
using E2LLM.Extensions.AI.Models;
using E2LLM.Generation;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Tokenization;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace E2LLM.Extensions.AI;

/// <summary>
/// A model that E2LLM runs, in this process or over a cluster, as an <see cref="IChatClient"/>. Owns nothing: the generator or dispatcher outlives it and
/// belongs to whoever made it. Thread-safe.
/// </summary>
/// <remarks>
/// Of <see cref="ChatOptions"/> these count: Instructions, Temperature, TopP, TopK, FrequencyPenalty, PresencePenalty, Seed, MaxOutputTokens,
/// StopSequences, and a RawRepresentationFactory that gives <see cref="GenerationOptions"/> (min-p, repetition penalty, logit bias, log-probabilities). Without a
/// seed each answer is drawn anew. Tools, response formats other than text and ConversationId are refused; ModelId is not looked at. An update's
/// RawRepresentation is its <see cref="GeneratedToken"/>, a response's the list of them.
/// </remarks>
public sealed class E2LLMChatClient : IChatClient
{
    private const string ProviderName = "e2llm";
    private readonly IServedModel _model;
    private readonly E2LLMChatClientOptions _options;
    private readonly ChatTemplate _template;
    private readonly ILogger _logger;

    /// <summary>Makes a client for a model in this process.</summary>
    /// <param name="generator">The model; stays the caller's.</param>
    /// <param name="options">How to answer; null for the defaults.</param>
    /// <param name="logger">Where to log; null for nowhere.</param>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public E2LLMChatClient(TextGenerator generator, E2LLMChatClientOptions? options = null, ILogger<E2LLMChatClient>? logger = null)
        : this(new LocalModel(generator ?? throw new ArgumentNullException(nameof(generator))), options, logger)
    {
    }

    /// <summary>Makes a client for a model over prefill and decode replicas.</summary>
    /// <param name="dispatcher">The connected replicas; stays the caller's.</param>
    /// <param name="model">The model's file: only its metadata is read, and it may be closed afterwards.</param>
    /// <param name="options">How to answer; null for the defaults.</param>
    /// <param name="logger">Where to log; null for nowhere.</param>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="GgufFormatException">The file's metadata is broken.</exception>
    /// <exception cref="NotSupportedException">Its architecture or tokenizer is not supported.</exception>
    public E2LLMChatClient(Dispatcher dispatcher, GgufFile model, E2LLMChatClientOptions? options = null, ILogger<E2LLMChatClient>? logger = null)
        : this(DeployedModel.Of(dispatcher, model), options, logger)
    {
    }

    internal E2LLMChatClient(IServedModel model, E2LLMChatClientOptions? options, ILogger<E2LLMChatClient>? logger)
    {
        _model = model;
        _options = options ?? new E2LLMChatClientOptions();
        _options.Validate();
        _template = _options.Template ?? model.Template ?? ChatTemplate.Plain;
        _logger = logger ?? (ILogger)NullLogger.Instance;
    }

    private string ModelId => _options.ModelId ?? _model.Name;

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">There is no message, an option is out of range, or the prompt is longer than the model's context.</exception>
    /// <exception cref="NotSupportedException">A message or an option asks for what this client cannot do.</exception>
    public async Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        var updates = new List<ChatResponseUpdate>();
        await foreach (ChatResponseUpdate update in GetStreamingResponseAsync(messages, options, cancellationToken).ConfigureAwait(false))
        {
            updates.Add(update);
        }

        ChatResponse response = updates.ToChatResponse();
        response.RawRepresentation = updates.Select(update => update.RawRepresentation).OfType<GeneratedToken>().ToList();
        return response;
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">There is no message, an option is out of range, or the prompt is longer than the model's context.</exception>
    /// <exception cref="NotSupportedException">A message or an option asks for what this client cannot do.</exception>
    public IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(messages);
        GenerationOptions generation = ChatOptionsMapping.Generation(options, _options.Generation, this);
        List<ChatTurn> turns = ChatOptionsMapping.Turns(messages, options);
        return Stream(_template.Encode(_model.Tokenizer, turns), turns, generation, cancellationToken);
    }

    /// <summary>Gives access to what is behind: <see cref="ChatClientMetadata"/>, <see cref="TextGenerator"/> or <see cref="Dispatcher"/>, <see cref="ITokenizer"/>, <see cref="ChatTemplate"/>, this client.</summary>
    /// <param name="serviceType">What is wanted.</param>
    /// <param name="serviceKey">Must be null: nothing here has a key.</param>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        if (serviceKey is not null)
        {
            return null;
        }

        return serviceType == typeof(ChatClientMetadata) ? new ChatClientMetadata(ProviderName, defaultModelId: ModelId)
            : new object[] { this, _model.Service, _model.Tokenizer, _template }.FirstOrDefault(serviceType.IsInstanceOfType);
    }

    /// <summary>Does nothing: the model belongs to whoever made it.</summary>
    public void Dispose()
    {
    }

    private async IAsyncEnumerable<ChatResponseUpdate> Stream(
        IReadOnlyList<int> promptIds, List<ChatTurn> turns, GenerationOptions options, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        string responseId = $"chatcmpl-{Guid.NewGuid():N}";
        using var log = new RequestLog(_logger, responseId, _options.LogSensitiveData);
        log.Started(promptIds.Count, options.MaxTokenCount, () => _template.Render(turns));
        DateTimeOffset createdAt = TimeProvider.System.GetUtcNow();
        int count = 0;
        await foreach (GeneratedToken token in log.Watch(_model.GenerateAsync(promptIds, options, cancellationToken), cancellationToken).ConfigureAwait(false))
        {
            count++;
            ChatResponseUpdate update = Update(token.Text.Length > 0 ? [new TextContent(token.Text)] : []);
            update.RawRepresentation = token;
            yield return update;
            if (token.Finish is { } finish)
            {
                ChatResponseUpdate last = Update([new UsageContent(Usage(promptIds.Count, count, token.ReusedPromptTokenCount))]);
                last.FinishReason = finish is FinishReason.EndOfGeneration or FinishReason.StopSequence ? ChatFinishReason.Stop : ChatFinishReason.Length;
                yield return last;
            }
        }

        ChatResponseUpdate Update(IList<AIContent> contents) => new(ChatRole.Assistant, contents)
        {
            ResponseId = responseId, MessageId = responseId, ModelId = ModelId, CreatedAt = createdAt,
        };
    }

    private static UsageDetails Usage(int input, int output, int cached) =>
        new() { InputTokenCount = input, OutputTokenCount = output, TotalTokenCount = input + output, CachedInputTokenCount = Math.Min(cached, input) };
}
