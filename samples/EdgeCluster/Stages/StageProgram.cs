using System.Globalization;
using System.Net.Sockets;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Samples.EdgeCluster.Fidelity;
using E2LLM.Samples.EdgeCluster.Faults;
using E2LLM.Weights;

namespace E2LLM.Samples.EdgeCluster.Stages;

/// <summary>
/// A stage's process: loads its layers, says on which port it listens, and serves whoever connects until its parent is gone. It talks to its
/// parent through stdin and stdout only at the start; the end of stdin is the end of the parent.
/// </summary>
internal static class StageProgram
{
    /// <summary>Said on stdout by a stage that was told to stand still in the middle of a KV transfer, when it does.</summary>
    public const string Frozen = "frozen";

    public static async Task<int> RunAsync(StageSettings settings)
    {
        using GgufFile file = GgufFile.Open(settings.ModelPath);
        using ModelWeights weights = ModelWeights.Load(file, ModelShapeReader.Read(file), settings.Layers, settings.Embedding, settings.Head);
        using var executor = new LayerRangeExecutor(weights, new ExecutorOptions
        {
            // Several processes share this machine; one thread each is enough, and changes no result.
            ThreadCount = 1,
            MaxBatchTokenCount = StageFleet.ChunkTokens,
            KvBudgetBytes = settings.MemoryBytes - weights.Memory.TotalBytes,
        });

        using TcpListener listener = Loopback.Listen(out int port);
        var addresses = new AddressBook();
        Func<Stream, string, Stream> links = settings.Emulation?.LinksOf(settings.Device) ?? ((stream, _) => stream);
        await using var host = new StageHost(executor, ModelIdentityReader.Read(file), new StageHostOptions
        {
            Name = settings.Device,
            Connect = async (device, ct) => Wrap(links(await addresses.ConnectAsync(device, ct), device), accepted: false),
            Slowdown = settings.Emulation?.Slowdown ?? 1,
            WorkClock = ThreadClock.Instance,
            Connections = StageFleet.Connections,
        });

        using var stop = new CancellationTokenSource();
        Task serving = ServeAsync(host, listener, stream => Wrap(stream, accepted: true), stop.Token);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{port} {weights.Memory.TotalBytes}"));
        addresses.Fill(await Console.In.ReadLineAsync());
        while (await Console.In.ReadLineAsync() is not null)
        {
        }

        await stop.CancelAsync();
        await serving;
        return 0;

        Stream Wrap(Stream stream, bool accepted) =>
            settings.FreezesInKvTransfer ? new FreezingStream(stream, watchesReads: accepted, () => Console.WriteLine(Frozen)) : stream;
    }

    private static async Task ServeAsync(StageHost host, TcpListener listener, Func<Stream, Stream> wrap, CancellationToken ct)
    {
        var connections = new List<Task>();
        try
        {
            while (true)
            {
                connections.Add(ServeOneAsync(host, wrap(await Loopback.AcceptAsync(listener, ct)), ct));
                connections.RemoveAll(connection => connection.IsCompletedSuccessfully);
            }
        }
        catch (OperationCanceledException)
        {
            await Task.WhenAll(connections);
        }
    }

    /// <summary>A connection that breaks is the driver's loss to report; this stage goes on serving others.</summary>
    private static async Task ServeOneAsync(StageHost host, Stream stream, CancellationToken ct)
    {
        try
        {
            await host.ServeAsync(stream, ct);
        }
        catch (OperationCanceledException)
        {
        }
    }
}
