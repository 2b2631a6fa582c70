using System.Net.Sockets;
using E2LLM.Replicas;
using E2LLM.Samples.EdgeCluster.Changes;
using E2LLM.Samples.EdgeCluster.Fidelity;

namespace E2LLM.Samples.EdgeCluster.Stages;

/// <summary>
/// A device's process: it holds nothing and has no file. It says on which port it listens, serves whoever connects, and loads the layers that a plan
/// gives it from the host's stream. Lines on stdin tell where the other devices are; the end of stdin is the end of the parent.
/// </summary>
internal static class StageProgram
{
    /// <summary>Said on stdout by a stage that was told to stand still in the middle of a KV transfer, when it does.</summary>
    public const string Frozen = "frozen";

    public static async Task<int> RunAsync(StageSettings settings)
    {
        using SteadyClock? clock = settings.Emulation is { } emulation ? emulation.Begin(settings.Device, Console.Out) : null;

        using TcpListener listener = Loopback.Listen(out int port);
        var addresses = new AddressBook();
        using var weights = new WeightSource(settings);
        Func<Stream, string, Stream> links = settings.Emulation?.LinksOf(settings.Device) ?? ((stream, _) => stream);
        await using var host = new StageHost(await weights.ReadIdentityAsync(), new StageHostOptions
        {
            Name = settings.Device,
            Connect = async (device, ct) => Wrap(links(await addresses.ConnectAsync(device, ct), device), accepted: false),
            Load = weights.LoadAsync,
            Slowdown = settings.Emulation?.Slowdown ?? 1,
            WorkClock = clock ?? TimeProvider.System,
            Connections = StageFleet.Connections,
        });

        using var stop = new CancellationTokenSource();
        Task serving = ServeAsync(host, listener, stream => Wrap(stream, accepted: true), stop.Token);
        Console.WriteLine(port);
        while (await Console.In.ReadLineAsync() is { } book)
        {
            addresses.Fill(book);
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
