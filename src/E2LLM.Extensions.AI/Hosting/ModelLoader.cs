using E2LLM.Extensions.AI.Models;
using E2LLM.Generation;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Weights;
using Microsoft.Extensions.Logging;

namespace E2LLM.Extensions.AI.Hosting;

/// <summary>Brings a model up once, when somebody first wants it, and owns it. Thread-safe.</summary>
internal sealed class ModelLoader : IAsyncDisposable, IDisposable
{
    private readonly Lock _gate = new();
    private readonly IServiceProvider _services;
    private readonly ILogger _logger;
    private readonly CancellationTokenSource _stopping = new();
    private Task<IServedModel>? _loading;

    public ModelLoader(IServiceProvider services, E2LLMOptions options, ILogger<E2LLMChatClient> logger)
    {
        _services = services;
        Options = options;
        _logger = logger;
    }

    public E2LLMOptions Options { get; }

    /// <summary>The loading under way or done; null before anybody wanted the model.</summary>
    public Task<IServedModel>? Loading
    {
        get
        {
            lock (_gate)
            {
                return _loading;
            }
        }
    }

    /// <summary>How far the loading into this process is, 0 to 1.</summary>
    public double LoadedFraction { get; private set; }

    /// <summary>Replicas connected when the deployment came up; 0 for a model in this process.</summary>
    public int ConnectedReplicaCount { get; private set; }

    /// <summary>The model, loaded on a thread of the pool. A failure is tried again by the next call.</summary>
    public Task<IServedModel> GetAsync(CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_stopping.IsCancellationRequested, this);
            if (_loading is null or { IsFaulted: true } or { IsCanceled: true })
            {
                _loading = Task.Run(() => LoadAsync(_stopping.Token));
            }

            return _loading.WaitAsync(cancellationToken);
        }
    }

    /// <summary>The model for constructors, which cannot wait otherwise; at once when the host has loaded it at its start.</summary>
    public IServedModel Get() => GetAsync(CancellationToken.None).GetAwaiter().GetResult();

    public async ValueTask DisposeAsync()
    {
        Task<IServedModel>? loading;
        lock (_gate)
        {
            if (_stopping.IsCancellationRequested)
            {
                return;
            }

            _stopping.Cancel();
            loading = _loading;
        }

        if (loading is not null)
        {
            await ((Task)loading).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (loading.IsCompletedSuccessfully)
            {
                await DisposeAsync((await loading.ConfigureAwait(false)).Service).ConfigureAwait(false);
            }
        }

        _stopping.Dispose();
    }

    public void Dispose() => DisposeAsync().AsTask().GetAwaiter().GetResult();

    private static async ValueTask DisposeAsync(object service)
    {
        if (service is IAsyncDisposable asynchronous)
        {
            await asynchronous.DisposeAsync().ConfigureAwait(false);
        }
        else
        {
            ((IDisposable)service).Dispose();
        }
    }

    private async Task<IServedModel> LoadAsync(CancellationToken cancellationToken)
    {
        try
        {
            return Options.Deployment is { } deployment ? await ConnectAsync(deployment, cancellationToken).ConfigureAwait(false) : new LocalModel(LoadHere(cancellationToken));
        }
        catch (Exception error) when (error is not OperationCanceledException)
        {
            ChatLog.LoadFailed(_logger, error, Options.ModelPath);
            throw;
        }
    }

    /// <summary>The generator itself logs what it has loaded.</summary>
    private TextGenerator LoadHere(CancellationToken cancellationToken) => TextGenerator.Load(
        Options.ModelPath, Options.Generator with { LoggerFactory = Options.Generator.LoggerFactory ?? _services.GetService(typeof(ILoggerFactory)) as ILoggerFactory },
        new Latest(this), cancellationToken);

    private async Task<IServedModel> ConnectAsync(Func<IServiceProvider, ModelIdentity, CancellationToken, Task<Dispatcher>> deployment, CancellationToken cancellationToken)
    {
        long start = TimeProvider.System.GetTimestamp();
        using GgufFile file = GgufFile.Open(Options.ModelPath);
        Dispatcher dispatcher = await deployment(_services, ModelIdentityReader.Read(file), cancellationToken).ConfigureAwait(false);
        ConnectedReplicaCount = dispatcher.Replicas.Count;
        DeployedModel model = DeployedModel.Of(dispatcher, file);
        ChatLog.Connected(_logger, model.Name, TimeProvider.System.GetElapsedTime(start).TotalSeconds, ConnectedReplicaCount);
        return model;
    }

    /// <summary>Keeps what was told last; a <see cref="Progress{T}"/> would tell it later, on another thread.</summary>
    private sealed class Latest(ModelLoader loader) : IProgress<LoadingProgress>
    {
        public void Report(LoadingProgress value) => loader.LoadedFraction = value.DoneFraction;
    }
}
