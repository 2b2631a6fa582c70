using System.Diagnostics;
using System.Runtime.CompilerServices;
using E2LLM.Diagnostics;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.Sampling;
using E2LLM.Tokenization;
using E2LLM.Weights;
using Microsoft.Extensions.Logging;

namespace E2LLM.Generation;

/// <summary>
/// A whole model in one process: text in, text out. Owns weights, executor and one thread that computes; the reference that a deployment over several
/// devices is compared with. Thread-safe: texts asked for at the same time are generated side by side, each the same as alone; those for which the KV cache
/// has no room wait in the order of the asking. What ended texts left in the cache serves later prompts that begin alike, a conversation's next turn above all.
/// </summary>
public sealed class TextGenerator : IDisposable
{
    private readonly ModelWeights _weights;
    private readonly LayerRangeExecutor _executor;
    private readonly CancellationTokenSource _stopping = new();
    private readonly GenerationLoop _loop;
    private readonly int _tokenBufferCount;
    private readonly ILogger _logger;
    private bool _disposed;

    private TextGenerator(ModelWeights weights, ITokenizer tokenizer, ChatTemplate? template, GeneratorOptions options)
    {
        _weights = weights;
        _executor = new LayerRangeExecutor(weights, options.Executor);
        _executor.KvPool.MaxKeptBlockCount = options.KeptKvBlockCount ?? _executor.KvPool.BlockCount;
        _tokenBufferCount = options.TokenBufferCount;
        _logger = RuntimeLog.For<TextGenerator>(options.LoggerFactory);
        Tokenizer = tokenizer;
        ChatTemplate = template;
        _loop = new GenerationLoop(_executor, options, _stopping.Token);
    }

    /// <summary>The model's numbers.</summary>
    public ModelShape Shape => _weights.Shape;

    /// <summary>The model's tokenizer.</summary>
    public ITokenizer Tokenizer { get; }

    /// <summary>How the model wants conversations written; null where its file does not say. What its <see cref="Tokenization.ChatTemplate.Encode"/> gives can be generated from.</summary>
    public ChatTemplate? ChatTemplate { get; }

    /// <summary>Bytes that the weights take.</summary>
    public WeightsMemory Memory => _weights.Memory;

    /// <summary>Loads a model whole.</summary>
    /// <param name="path">A GGUF file.</param>
    /// <param name="options">How to set it up; null means the defaults.</param>
    /// <param name="progress">Told after each tensor.</param>
    /// <param name="cancellationToken">Ends the loading.</param>
    /// <exception cref="GgufFormatException">The file is broken.</exception>
    /// <exception cref="NotSupportedException">Its architecture, a tensor type or its tokenizer is not supported.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static TextGenerator Load(string path, GeneratorOptions? options = null, IProgress<LoadingProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        options ??= new GeneratorOptions();
        options.Validate();
        long start = TimeProvider.System.GetTimestamp();
        using GgufFile file = GgufFile.Open(path);
        ModelShape shape = ModelShapeReader.Read(file);
        ITokenizer tokenizer = TokenizerLoader.Load(file.Metadata);
        ChatTemplate? template = ChatTemplate.FromMetadata(file.Metadata);
        ModelWeights weights = ModelWeights.Load(file, shape, new LayerRange(0, shape.LayerCount), embedding: true, head: true, progress, cancellationToken);
        try
        {
            var generator = new TextGenerator(weights, tokenizer, template, options);
            RuntimeLog.ModelLoaded(
                generator._logger, shape.Name, shape.LayerCount, weights.Memory.TotalBytes, generator._executor.KvPool.BlockCount, TimeProvider.System.GetElapsedTime(start).TotalSeconds);
            return generator;
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    /// <summary>Continues a text, token by token. Nothing is computed on the caller's thread.</summary>
    /// <param name="prompt">Text to continue; the tokenizer's beginning-of-sequence token is put before it where the model wants one.</param>
    /// <param name="options">How; null means the defaults.</param>
    /// <param name="cancellationToken">Ends the enumeration at once, and the computing between layers or, beside other texts, between steps. Leaving the enumeration ends it, too.</param>
    /// <exception cref="ArgumentException">
    /// The prompt gives no token at all, or more than the model's context holds; prompt and output together outgrow the whole KV cache; or an option is out of range.
    /// </exception>
    /// <exception cref="InvalidLogitsException">The model's output is not a distribution.</exception>
    public IAsyncEnumerable<GeneratedToken> GenerateAsync(string prompt, GenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        options ??= new GenerationOptions();
        return GenerateAsync(Tokenizer.Encode(prompt, addBos: true, options.ParseSpecial), options, cancellationToken);
    }

    /// <summary>Continues a sequence of token ids, token by token.</summary>
    /// <inheritdoc cref="GenerateAsync(string, GenerationOptions?, CancellationToken)"/>
    public IAsyncEnumerable<GeneratedToken> GenerateAsync(IReadOnlyList<int> promptIds, GenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ArgumentNullException.ThrowIfNull(promptIds);
        options ??= new GenerationOptions();
        options.Validate();
        options.Sampling.CheckVocabulary(Shape.VocabularySize);
        if (promptIds.Count == 0)
        {
            throw new ArgumentException("The prompt has no token: the model adds no beginning-of-sequence token, and there is no text.", nameof(promptIds));
        }

        if (promptIds.Count >= Shape.ContextLength)
        {
            throw Refused(
                $"The prompt has {promptIds.Count} tokens; the model's context of {Shape.ContextLength} leaves no room to continue.");
        }

        int capacity = (int)Math.Min((long)promptIds.Count + options.MaxTokenCount, Shape.ContextLength);
        if (_loop.Admission.BlocksFor(capacity) > _loop.Admission.BlockCount)
        {
            throw Refused(
                $"A prompt of {promptIds.Count} tokens with at most {options.MaxTokenCount} more needs {_loop.Admission.BlocksFor(capacity)} KV blocks; there are {_loop.Admission.BlockCount}.");
        }

        return Watch([.. promptIds], options, capacity, cancellationToken);

        ArgumentException Refused(string reason)
        {
            RuntimeLog.RequestRefused(_logger, 0, reason);
            return new ArgumentException(reason, nameof(promptIds));
        }
    }

    /// <summary>Ends running generations with <see cref="OperationCanceledException"/>, then frees everything.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _stopping.Cancel();
        _loop.Dispose();
        _executor.Dispose();
        _weights.Dispose();
        _stopping.Dispose();
    }

    private async IAsyncEnumerable<GeneratedToken> Watch(int[] promptIds, GenerationOptions options, int capacity, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var watch = new RequestWatch(_logger, Shape.Name, ActivityKind.Internal, promptIds.Length, options.MaxTokenCount, TimeProvider.System);
        options.Sampling.Describe(watch.Activity);
        await foreach (GeneratedToken token in watch.Follow(Stream(promptIds, options, capacity, cancellationToken), cancellationToken).ConfigureAwait(false))
        {
            if (token.Finish is { } finish)
            {
                watch.Activity?.SetTag(Telemetry.CachedInputTokensTag, token.ReusedPromptTokenCount)
                    .SetTag(Telemetry.FinishReasonsTag, finish is FinishReason.EndOfGeneration or FinishReason.StopSequence ? Telemetry.Stopped : Telemetry.Cut);
            }

            yield return token;
        }
    }

    private async IAsyncEnumerable<GeneratedToken> Stream(int[] promptIds, GenerationOptions options, int capacity, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        using CancellationTokenSource linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _stopping.Token);
        var request = new GenerationRequest(promptIds, options, new TextContinuation(Tokenizer, promptIds, options, Shape.ContextLength), _tokenBufferCount, capacity, linked.Token);
        request.Blocks = await _loop.Admission.AcquireAsync(capacity, linked.Token).ConfigureAwait(false);
        if (!_loop.Post(request))
        {
            _loop.Admission.Release(request.Blocks);
            throw new OperationCanceledException("The generator was disposed.");
        }

        try
        {
            while (await request.Tokens.WaitToReadAsync(cancellationToken).ConfigureAwait(false))
            {
                while (request.Tokens.TryRead(out GeneratedToken token))
                {
                    yield return token;
                    if (request.Consumed())
                    {
                        _loop.Post(request);
                    }
                }
            }
        }
        finally
        {
            // Whatever the reason for leaving: the computing thread looks at the request and lets it go.
            await linked.CancelAsync().ConfigureAwait(false);
            _loop.Post(request);
        }
    }
}
