using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading.Channels;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Sampling;
using E2LLM.Tokenization;
using E2LLM.Weights;

namespace E2LLM.Generation;

/// <summary>
/// A whole model in one process: text in, text out. Owns weights, executor and one thread that computes; the reference that a deployment over several
/// devices is compared with. Thread-safe: generations asked for at the same time run one after another, in the order of the asking.
/// </summary>
public sealed class TextGenerator : IDisposable
{
    private readonly ModelWeights _weights;
    private readonly LayerRangeExecutor _executor;
    private readonly Channel<Request> _requests = Channel.CreateUnbounded<Request>(new UnboundedChannelOptions { SingleReader = true });
    private readonly CancellationTokenSource _stopping = new();
    private readonly Thread _thread;
    private readonly float[] _hidden, _logits;
    private bool _disposed;

    private TextGenerator(ModelWeights weights, ITokenizer tokenizer, GeneratorOptions options)
    {
        _weights = weights;
        _executor = new LayerRangeExecutor(weights, options.Executor);
        Tokenizer = tokenizer;
        _hidden = new float[(long)options.Executor.MaxBatchTokenCount * weights.Shape.HiddenSize];
        _logits = new float[weights.Shape.VocabularySize];
        _thread = new Thread(Work) { IsBackground = true, Name = "E2LLM generator" };
        _thread.Start();
    }

    /// <summary>The model's numbers.</summary>
    public ModelShape Shape => _weights.Shape;

    /// <summary>The model's tokenizer.</summary>
    public ITokenizer Tokenizer { get; }

    /// <summary>Bytes that the weights take.</summary>
    public WeightsMemory Memory => _weights.Memory;

    /// <summary>Loads a model whole.</summary>
    /// <param name="path">A GGUF file.</param>
    /// <param name="options">How to set it up; null means the defaults.</param>
    /// <param name="ct">Ends the loading.</param>
    /// <exception cref="GgufFormatException">The file is broken.</exception>
    /// <exception cref="NotSupportedException">Its architecture, a tensor type or its tokenizer is not supported.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static TextGenerator Load(string path, GeneratorOptions? options = null, CancellationToken ct = default)
    {
        options ??= new GeneratorOptions();
        options.Validate();
        using GgufFile file = GgufFile.Open(path);
        ModelShape shape = ModelShapeReader.Read(file);
        ITokenizer tokenizer = TokenizerLoader.Load(file.Metadata);
        ModelWeights weights = ModelWeights.Load(file, shape, new LayerRange(0, shape.LayerCount), embedding: true, head: true, ct);
        try
        {
            return new TextGenerator(weights, tokenizer, options);
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
    /// <param name="ct">Ends the generation between layers. Leaving the enumeration ends it, too.</param>
    /// <exception cref="ArgumentException">The prompt gives no token at all, or more than the model's context holds; or an option is out of range.</exception>
    /// <exception cref="InvalidLogitsException">The model's output is not a distribution.</exception>
    public IAsyncEnumerable<GeneratedToken> GenerateAsync(string prompt, GenerationOptions? options = null, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        options ??= new GenerationOptions();
        return GenerateAsync(Tokenizer.Encode(prompt, addBos: true, options.ParseSpecial), options, ct);
    }

    /// <summary>Continues a sequence of token ids, token by token.</summary>
    /// <inheritdoc cref="GenerateAsync(string, GenerationOptions?, CancellationToken)"/>
    public IAsyncEnumerable<GeneratedToken> GenerateAsync(IReadOnlyList<int> promptIds, GenerationOptions? options = null, CancellationToken ct = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ArgumentNullException.ThrowIfNull(promptIds);
        options ??= new GenerationOptions();
        options.Validate();
        if (promptIds.Count == 0)
        {
            throw new ArgumentException("The prompt has no token: the model adds no beginning-of-sequence token, and there is no text.", nameof(promptIds));
        }

        if (promptIds.Count >= Shape.ContextLength)
        {
            throw new ArgumentException(
                $"The prompt has {promptIds.Count} tokens; the model's context of {Shape.ContextLength} leaves no room to continue.", nameof(promptIds));
        }

        return Stream([.. promptIds], options, ct);
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
        _requests.Writer.TryComplete();
        _thread.Join();
        _executor.Dispose();
        _weights.Dispose();
        _stopping.Dispose();
    }

    private async IAsyncEnumerable<GeneratedToken> Stream(int[] promptIds, GenerationOptions options, [EnumeratorCancellation] CancellationToken ct)
    {
        using CancellationTokenSource linked = CancellationTokenSource.CreateLinkedTokenSource(ct, _stopping.Token);
        Channel<GeneratedToken> tokens = Channel.CreateUnbounded<GeneratedToken>(new UnboundedChannelOptions { SingleReader = true, SingleWriter = true });
        var request = new Request(promptIds, options, tokens.Writer, linked.Token);
        ObjectDisposedException.ThrowIf(!_requests.Writer.TryWrite(request), this);

        try
        {
            while (await tokens.Reader.WaitToReadAsync(CancellationToken.None).ConfigureAwait(false))
            {
                while (tokens.Reader.TryRead(out GeneratedToken token))
                {
                    yield return token;
                }
            }
        }
        finally
        {
            await linked.CancelAsync().ConfigureAwait(false);

            // The computing thread must be through with the token source before that is disposed.
            await request.Done.Task.ConfigureAwait(false);
            ct.ThrowIfCancellationRequested();
        }
    }

    private void Work()
    {
        ChannelReader<Request> reader = _requests.Reader;
        while (reader.WaitToReadAsync().AsTask().GetAwaiter().GetResult())
        {
            while (reader.TryRead(out Request? request))
            {
                try
                {
                    Generate(request);
                    request.Tokens.Complete();
                }
#pragma warning disable CA1031 // Whatever goes wrong belongs to whoever enumerates, where it is thrown again.
                catch (Exception exception)
#pragma warning restore CA1031
                {
                    request.Tokens.Complete(exception);
                }

                request.Done.SetResult();
            }
        }
    }

    private void Generate(Request request)
    {
        using KvCache sequence = _executor.CreateSequence();
        var text = new TextContinuation(Tokenizer, request.PromptIds, request.Options, Shape.ContextLength);
        List<int> ids = [.. request.PromptIds];
        Prefill(sequence, request.PromptIds, request.Cancellation);
        while (true)
        {
            GeneratedToken token = text.Append(Sampler.Choose(_logits, request.Options.Sampling, sequence.Length, CollectionsMarshal.AsSpan(ids)));
            request.Tokens.TryWrite(token);
            if (token.Finish is not null)
            {
                return;
            }

            ids.Add(token.Id);
            request.Cancellation.ThrowIfCancellationRequested();
            Step(sequence, [token.Id], request.Cancellation);
            _executor.ComputeLogits(_hidden.AsSpan(0, Shape.HiddenSize), _logits);
        }
    }

    private void Prefill(KvCache sequence, int[] ids, CancellationToken ct)
    {
        int chunk = _hidden.Length / Shape.HiddenSize, last = 0;
        for (int done = 0; done < ids.Length; done += last)
        {
            last = Math.Min(chunk, ids.Length - done);
            Step(sequence, ids.AsSpan(done, last), ct);
        }

        _executor.ComputeLogits(_hidden.AsSpan((last - 1) * Shape.HiddenSize, Shape.HiddenSize), _logits);
    }

    private void Step(KvCache sequence, ReadOnlySpan<int> ids, CancellationToken ct)
    {
        Span<float> hidden = _hidden.AsSpan(0, ids.Length * Shape.HiddenSize);
        _executor.Embed(ids, hidden);
        _executor.Forward([new SequenceSlice(sequence, ids.Length)], hidden, ct);
    }

    private sealed record Request(int[] PromptIds, GenerationOptions Options, ChannelWriter<GeneratedToken> Tokens, CancellationToken Cancellation)
    {
        internal TaskCompletionSource Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
