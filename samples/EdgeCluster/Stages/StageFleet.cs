using E2LLM.Costs;
using E2LLM.Replicas;
using E2LLM.Samples.EdgeCluster.Fidelity;

namespace E2LLM.Samples.EdgeCluster.Stages;

/// <summary>All devices of a cluster, each a process of its own, and the host's stream from which they get their layers. Disposing it ends them.</summary>
internal sealed class StageFleet : IAsyncDisposable
{
    /// <summary>Tokens of a prompt that go through a stage at once.</summary>
    public const int ChunkTokens = 64;

    private readonly AddressBook _addresses = new();

    // Replaced as a whole when a device joins: others look at it meanwhile.
    private volatile StageProcess[] _processes = [];

    private StageFleet(string modelPath) => Weights = new WeightServer(modelPath);

    /// <summary>Twelve processes start on two processors: a silence of seconds is no loss here.</summary>
    public static ConnectionOptions Connections { get; } = new() { PeerTimeout = TimeSpan.FromSeconds(30) };

    public ReplicaOptions ReplicaOptions { get; } = new() { ChunkTokenCount = ChunkTokens, Connections = Connections };

    /// <summary>Where devices get their layers.</summary>
    public WeightServer Weights { get; }

    /// <summary>Processor seconds that all of them have used.</summary>
    public double ProcessorSeconds => _processes.Sum(process => process.ProcessorSeconds);

    /// <summary>The process of a device.</summary>
    public StageProcess this[string device] => _processes.Single(process => process.Device == device);

    /// <param name="freezing">Device that stands still in the middle of a KV transfer; null: none.</param>
    /// <param name="emulate">What the process of a device emulates; null: nothing.</param>
    public static async Task<StageFleet> StartAsync(Cluster cluster, string modelPath, string? freezing, CancellationToken ct, Func<string, Emulation>? emulate = null)
    {
        var fleet = new StageFleet(modelPath);
        try
        {
            foreach (DeviceProfile device in cluster.Devices)
            {
                fleet.Start(new StageSettings(device.Name, device.MemoryBytes, fleet.Weights.Port, device.Name == freezing) { Emulation = emulate?.Invoke(device.Name) });
            }

            await Task.WhenAll(fleet._processes.Select(process => process.WaitUntilReadyAsync(ct)));
            await fleet.TellAllAsync(ct);
            return fleet;
        }
        catch
        {
            await fleet.DisposeAsync();
            throw;
        }
    }

    /// <summary>Starts a device that joins.</summary>
    public async Task AddAsync(DeviceProfile device, CancellationToken ct)
    {
        await Start(new StageSettings(device.Name, device.MemoryBytes, Weights.Port, FreezesInKvTransfer: false)).WaitUntilReadyAsync(ct);
        await TellAllAsync(ct);
    }

    /// <summary>Opens a stream to the process of a device.</summary>
    public ValueTask<Stream> ConnectAsync(string device, CancellationToken ct) => _addresses.ConnectAsync(device, ct);

    public async ValueTask DisposeAsync()
    {
        await Task.WhenAll(_processes.Select(process => process.DisposeAsync().AsTask()));
        await Weights.DisposeAsync();
    }

    private StageProcess Start(StageSettings settings)
    {
        StageProcess process = StageProcess.Start(settings);
        _processes = [.. _processes, process];
        return process;
    }

    /// <summary>Tells every process where all are, and this one.</summary>
    private async Task TellAllAsync(CancellationToken ct)
    {
        string book = AddressBook.Write(_processes.Select(process => (process.Device, process.Port)));
        _addresses.Fill(book);
        await Task.WhenAll(_processes.Select(process => process.SendAsync(book, ct)));
    }
}
