using System.Diagnostics;
using System.Globalization;
using E2LLM.Costs;

namespace E2LLM.Samples.EdgeCluster.Stages;

/// <summary>One child process that runs a stage. It ends with this object; it also ends by itself when this process does, however that happens.</summary>
internal sealed class StageProcess : IAsyncDisposable
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(60), ProfileLimit = TimeSpan.FromSeconds(120), EndLimit = TimeSpan.FromSeconds(3);
    private readonly Process _process;

    private readonly bool _emulates;

    private StageProcess(StageSettings settings, Process process)
    {
        Device = settings.Device;
        _emulates = settings.Emulation is not null;
        _process = process;
    }

    public string Device { get; }

    /// <summary>What it measured of itself before it began to listen; null where it emulates nothing or has no layers to come.</summary>
    public DeviceProfile? Profile { get; private set; }

    /// <summary>Where it listens.</summary>
    public int Port { get; private set; }

    /// <summary>Number of the process.</summary>
    public int Id => _process.Id;

    /// <summary>Processor seconds that it has used.</summary>
    public double ProcessorSeconds
    {
        get
        {
            _process.Refresh();
            return _process.TotalProcessorTime.TotalSeconds;
        }
    }

    /// <summary>Starts this program again as a stage.</summary>
    public static StageProcess Start(StageSettings settings) => new(settings, StartProgram(["stage", .. settings.ToArguments()]));

    /// <summary>Starts this program again with other arguments.</summary>
    public static Process StartProgram(string[] arguments)
    {
        // Under "dotnet EdgeCluster.dll" this process is dotnet itself, which wants the assembly first.
        string program = Environment.ProcessPath!;
        bool isHost = Path.GetFileNameWithoutExtension(program).Equals("dotnet", StringComparison.OrdinalIgnoreCase);
        string[] assembly = isHost ? [typeof(StageProcess).Assembly.Location] : [];
        var start = new ProcessStartInfo(program, [.. assembly, .. arguments])
        {
            RedirectStandardInput = true, RedirectStandardOutput = true, UseShellExecute = false,
        };
        return Process.Start(start) ?? throw new IOException($"Cannot start {program}.");
    }

    /// <summary>Waits for the stage to listen.</summary>
    public async Task WaitUntilReadyAsync(CancellationToken ct)
    {
        if (_emulates && await ReadLineAsync(ProfileLimit, ct) is { Length: > 0 } profile)
        {
            Profile = DeviceProfile.Parse(profile);
        }

        string? line = await ReadLineAsync(StartLimit, ct);
        Port = int.TryParse(line, NumberStyles.None, CultureInfo.InvariantCulture, out int port) ? port : throw new IOException($"The stage on {Device} ended before it was ready.");
    }

    /// <summary>Waits until the stage says that it stands still in the middle of a KV transfer.</summary>
    public async Task WaitUntilFrozenAsync(CancellationToken ct)
    {
        if (await _process.StandardOutput.ReadLineAsync(ct) != StageProgram.Frozen)
        {
            throw new IOException($"The stage on {Device} ended before any keys and values came by.");
        }
    }

    /// <summary>Ends the process at once (SIGKILL): it gets no chance to say goodbye.</summary>
    public void Kill()
    {
        _process.Kill();

        // The sockets by which the runtime lets itself be looked at: a process that is killed leaves them behind.
        foreach (string left in new[] { $"clr-debug-pipe-{Id}-*", $"dotnet-diagnostic-{Id}-*" }.SelectMany(name => Directory.GetFiles(Path.GetTempPath(), name)))
        {
            File.Delete(left);
        }
    }

    /// <summary>Tells the stage where all others are.</summary>
    public async Task SendAsync(string addresses, CancellationToken ct)
    {
        try
        {
            await _process.StandardInput.WriteLineAsync(addresses.AsMemory(), ct);
            await _process.StandardInput.FlushAsync(ct);
        }
        catch (IOException)
        {
            // It was killed; who needs it will notice.
        }
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            _process.StandardInput.Close();
            using var limit = new CancellationTokenSource(EndLimit);
            await _process.WaitForExitAsync(limit.Token);
        }
        catch (Exception problem) when (problem is OperationCanceledException or IOException)
        {
            Kill();
        }

        _process.Dispose();
    }

    private async Task<string?> ReadLineAsync(TimeSpan limit, CancellationToken ct)
    {
        try
        {
            return await _process.StandardOutput.ReadLineAsync(ct).AsTask().WaitAsync(limit, ct);
        }
        catch (TimeoutException late)
        {
            throw new IOException($"The stage on {Device} was not ready within {limit.TotalSeconds:F0} s.", late);
        }
    }
}
