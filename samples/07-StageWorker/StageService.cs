using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using E2LLM.Deployment;
using E2LLM.Execution;
using E2LLM.Replicas;
using E2LLM.Weights;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace E2LLM.Samples.StageWorker;

/// <summary>Loads this device's layers and serves them until the host stops.</summary>
internal sealed partial class StageService(IOptions<StageSettings> options, IHostApplicationLifetime lifetime, ILogger<StageService> logger, ILoggerFactory loggers) : BackgroundService
{
    private readonly StageSettings _settings = options.Value;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            // Loading computes: not on the thread that starts the host.
            await Task.Run(() => ServeAsync(stoppingToken), stoppingToken);
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
        }
#pragma warning disable CA1031 // Whatever it is, the service manager must see a failure, or it would not start us again.
        catch (Exception failure)
#pragma warning restore CA1031
        {
            Failed(failure, _settings.Name);
            Environment.ExitCode = 1;
            lifetime.StopApplication();
        }
    }

    private async Task ServeAsync(CancellationToken ct)
    {
        StagePlan stage = DeploymentPlan.Load(_settings.Plan)
            .Replicas.SelectMany(replica => replica.Stages).FirstOrDefault(stage => stage.Device == _settings.Name)
            ?? throw new InvalidOperationException($"The plan {_settings.Plan} has no stage on '{_settings.Name}'.");
        using MutualTls tls = MutualTls.Load(_settings.Certificate, _settings.Key, _settings.Authority);
        using ModelWeights weights = ModelWeights.Load(_settings.Model, stage.Layers, out ModelIdentity identity, cancellationToken: ct);
        using var executor = new LayerRangeExecutor(weights, new ExecutorOptions { KvBudgetBytes = _settings.KvBytes > 0 ? _settings.KvBytes : null });
        await using var host = new StageHost(executor, identity, new StageHostOptions
        {
            Name = _settings.Name,
            Connect = (peer, cancel) => ConnectAsync(tls, peer, cancel),
            LoggerFactory = loggers,
        });

        using var listener = new TcpListener(IPEndPoint.Parse(_settings.Listen));
        listener.Start();
        Ready(_settings.Name, stage.Layers.ToString(), weights.Memory.TotalBytes / 1_000_000, listener.LocalEndpoint.ToString()!);
        var connections = new ConcurrentDictionary<Task, byte>();
        try
        {
            while (true)
            {
                Task connection = ServeAsync(host, tls, await listener.AcceptSocketAsync(ct), ct);
                connections.TryAdd(connection, 0);
                _ = connection.ContinueWith(done => connections.TryRemove(done, out _), TaskScheduler.Default);
            }
        }
        finally
        {
            listener.Stop();
            await Task.WhenAll(connections.Keys);
        }
    }

    /// <summary>One connection, from its handshake to its end. It may break or be refused; the service goes on.</summary>
    private async Task ServeAsync(StageHost host, MutualTls tls, Socket socket, CancellationToken ct)
    {
        string from = $"{socket.RemoteEndPoint}";
        try
        {
            socket.NoDelay = true;
            Stream stream = await tls.AcceptAsync(new NetworkStream(socket, ownsSocket: true), ct);
            PeerLostException? loss = await host.ServeAsync(stream, ct);
            Ended(from, loss?.Message ?? "closed");
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
        }
        catch (Exception refused) when (refused is AuthenticationException or IOException or OperationCanceledException or FormatException)
        {
            Refused(from, refused.Message);
        }
    }

    private async ValueTask<Stream> ConnectAsync(MutualTls tls, string peer, CancellationToken ct)
    {
        string text = _settings.Peers.GetValueOrDefault(peer) ?? throw new IOException($"No address for device '{peer}': set Stage:Peers:{peer}.");
        return PeerAddress.TryParse(text, out PeerAddress address)
            ? await tls.ConnectAsync(await address.ConnectAsync(ct), peer, ct)
            : throw new IOException($"The address of device '{peer}' is '{text}', not HOST:PORT.");
    }

    [LoggerMessage(1, LogLevel.Information, "{Device} holds layers {Layers} ({Megabytes} MB) and listens on {Address}")]
    private partial void Ready(string device, string layers, long megabytes, string address);

    [LoggerMessage(2, LogLevel.Warning, "Refused a connection from {From}: {Reason}")]
    private partial void Refused(string from, string reason);

    [LoggerMessage(3, LogLevel.Information, "Connection from {From} ended: {Reason}")]
    private partial void Ended(string from, string reason);

    [LoggerMessage(4, LogLevel.Critical, "{Device} cannot serve")]
    private partial void Failed(Exception failure, string device);
}
