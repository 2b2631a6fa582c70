using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Samples.EdgeCluster.Fidelity;

namespace E2LLM.Samples.EdgeCluster.Stages;

/// <summary>All stages of a plan, each in a process of its own. Disposing it ends them.</summary>
internal sealed class StageFleet : IAsyncDisposable
{
    /// <summary>Tokens of a prompt that go through a stage at once.</summary>
    public const int ChunkTokens = 64;

    private readonly List<StageProcess> processes = [];
    private readonly AddressBook addresses = new();

    private StageFleet()
    {
    }

    /// <summary>Twelve processes start on two processors: a silence of seconds is no loss here.</summary>
    public static ConnectionOptions Connections { get; } = new() { PeerTimeout = TimeSpan.FromSeconds(30) };

    public ReplicaOptions ReplicaOptions { get; } = new() { ChunkTokenCount = ChunkTokens, Connections = Connections };

    public IEnumerable<long> WeightBytes => processes.Select(process => process.WeightBytes);

    /// <summary>Processor seconds that all of them have used.</summary>
    public double ProcessorSeconds => processes.Sum(process => process.ProcessorSeconds);

    /// <summary>The process of a device.</summary>
    public StageProcess this[string device] => processes.Single(process => process.Device == device);

    /// <param name="freezing">Device that stands still in the middle of a KV transfer; null: none.</param>
    /// <param name="emulate">What the process of a device emulates; null: nothing.</param>
    public static async Task<StageFleet> StartAsync(
        DeploymentPlan plan, Cluster cluster, string modelPath, string? freezing, CancellationToken ct, Func<string, Emulation>? emulate = null)
    {
        var fleet = new StageFleet();
        try
        {
            foreach (StagePlan stage in plan.Replicas.SelectMany(replica => replica.Stages))
            {
                long memory = cluster.Devices[cluster.IndexOf(stage.Device)].MemoryBytes;
                fleet.processes.Add(StageProcess.Start(StageSettings.Of(stage, Path.GetFullPath(modelPath), memory, stage.Device == freezing) with { Emulation = emulate?.Invoke(stage.Device) }));
            }

            await Task.WhenAll(fleet.processes.Select(process => process.WaitUntilReadyAsync(ct)));
            string book = AddressBook.Write(fleet.processes.Select(process => (process.Device, process.Port)));
            fleet.addresses.Fill(book);
            await Task.WhenAll(fleet.processes.Select(process => process.SendAsync(book, ct)));
            return fleet;
        }
        catch
        {
            await fleet.DisposeAsync();
            throw;
        }
    }

    /// <summary>Opens a stream to the process of a device.</summary>
    public ValueTask<Stream> ConnectAsync(string device, CancellationToken ct) => addresses.ConnectAsync(device, ct);

    public async ValueTask DisposeAsync() => await Task.WhenAll(processes.Select(process => process.DisposeAsync().AsTask()));
}
