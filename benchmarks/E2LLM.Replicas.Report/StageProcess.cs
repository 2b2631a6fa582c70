using System.Diagnostics;
using System.Globalization;
using E2LLM.Deployment;
using E2LLM.Samples.EdgeCluster.Stages;

namespace E2LLM.Replicas.Report;

/// <summary>Child processes that run the stages of some replicas, and the way to them.</summary>
internal sealed class StageProcess : IAsyncDisposable
{
    private readonly Dictionary<string, Process> _processes = [];
    private readonly AddressBook _addresses = new();

    public static ConnectionOptions Connections { get; } = new() { PeerTimeout = TimeSpan.FromSeconds(30) };

    /// <summary>Starts this program again for every stage of some replicas.</summary>
    /// <param name="path">The model.</param>
    /// <param name="replicas">Replicas with the threads of each of their stages.</param>
    /// <param name="overlaps">Whether prefill stages send keys and values while they read.</param>
    public static async Task<StageProcess> StartAsync(string path, IEnumerable<(ReplicaPlan Plan, int Threads)> replicas, Func<string, bool>? overlaps = null)
    {
        var fleet = new StageProcess();
        var ports = new List<(string, int)>();
        foreach ((ReplicaPlan plan, int threads) in replicas)
        {
            foreach (StagePlan stage in plan.Stages)
            {
                var settings = new StageSettings(stage.Device, path, stage.Layers, stage.Embedding, stage.Head, threads, overlaps?.Invoke(stage.Device) ?? true);
                string program = Environment.ProcessPath!;
                string[] assembly = Path.GetFileNameWithoutExtension(program) == "dotnet" ? [typeof(StageProcess).Assembly.Location] : [];
                var start = new ProcessStartInfo(program, [.. assembly, "stage", .. settings.ToArguments()]) { RedirectStandardInput = true, RedirectStandardOutput = true };
                Process process = Process.Start(start) ?? throw new IOException($"Cannot start {program}.");
                fleet._processes.Add(stage.Device, process);
            }
        }

        // They load side by side.
        foreach ((string device, Process process) in fleet._processes)
        {
            string line = await process.StandardOutput.ReadLineAsync() ?? throw new IOException($"The stage {device} ended before it was ready.");
            ports.Add((device, int.Parse(line, CultureInfo.InvariantCulture)));
        }

        string book = AddressBook.Write(ports);
        fleet._addresses.Fill(book);
        foreach (Process process in fleet._processes.Values)
        {
            await process.StandardInput.WriteLineAsync(book);
            await process.StandardInput.FlushAsync();
        }

        return fleet;
    }

    /// <summary>A replica of the model's layers, cut after the given ones; its stages are named after it.</summary>
    public static ReplicaPlan Plan(string name, ReplicaRole role, int layerCount, params int[] cuts)
    {
        int[] edges = [0, .. cuts, layerCount];
        return new ReplicaPlan
        {
            Name = name,
            Role = role,
            Stages = [.. Enumerable.Range(0, edges.Length - 1).Select(i => new StagePlan
            {
                Device = $"{name}{i}", Layers = new LayerRange(edges[i], edges[i + 1]), Embedding = i == 0, Head = i + 2 == edges.Length,
            })],
        };
    }

    public ValueTask<Stream> ConnectAsync(string device, CancellationToken ct) => _addresses.ConnectAsync(device, ct);

    /// <summary>Sets the rate at which a stage may send to others.</summary>
    public async Task SetRateAsync(string device, double bytesPerSecond)
    {
        await _processes[device].StandardInput.WriteLineAsync(string.Create(CultureInfo.InvariantCulture, $"rate {bytesPerSecond}"));
        await _processes[device].StandardInput.FlushAsync();
    }

    /// <summary>Seconds that a stage has computed since it started: one thread, one step at a time.</summary>
    public async Task<double> BusySecondsAsync(string device)
    {
        Process process = _processes[device];
        await process.StandardInput.WriteLineAsync("busy");
        await process.StandardInput.FlushAsync();
        return double.Parse((await process.StandardOutput.ReadLineAsync())!, CultureInfo.InvariantCulture);
    }

    /// <summary>The processor time that a stage's process has taken, and start and end of each step since it was last asked; timestamps are comparable between the processes of one machine.</summary>
    public async Task<StageSteps> StepsAsync(string device)
    {
        Process process = _processes[device];
        await process.StandardInput.WriteLineAsync("steps");
        await process.StandardInput.FlushAsync();
        long[] numbers = [.. (await process.StandardOutput.ReadLineAsync())!.Split(' ').Select(text => long.Parse(text, CultureInfo.InvariantCulture))];
        return new StageSteps(TimeSpan.FromTicks(numbers[0]).TotalSeconds, [.. numbers.Skip(1).Chunk(2).Select(pair => (pair[0], pair[1]))]);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (Process process in _processes.Values)
        {
            process.StandardInput.Close();
        }

        foreach (Process process in _processes.Values)
        {
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(5));
            try
            {
                await process.WaitForExitAsync(limit.Token);
            }
            catch (OperationCanceledException)
            {
                process.Kill();
            }

            process.Dispose();
        }
    }
}
