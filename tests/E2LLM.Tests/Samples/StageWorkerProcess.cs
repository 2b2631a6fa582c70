using System.Diagnostics;
using System.Globalization;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>One run of <c>07-StageWorker</c>, ended as a service manager ends it.</summary>
internal sealed class StageWorkerProcess : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);
    private readonly Process process;
    private readonly List<string> lines = [];
    private readonly TaskCompletionSource<int> port = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private StageWorkerProcess(Process process) => this.process = process;

    public Task<int> Port => port.Task.WaitAsync(Limit);

    public string Log
    {
        get
        {
            lock (lines)
            {
                return string.Join('\n', lines);
            }
        }
    }

    /// <summary>Runs a command line in the sample's output folder with settings in the environment.</summary>
    public static StageWorkerProcess Start(IEnumerable<string> command, IEnumerable<KeyValuePair<string, string>> settings)
    {
        string[] words = [.. command];
        var start = new ProcessStartInfo(words[0], words[1..])
        {
            RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false,
            WorkingDirectory = Path.GetDirectoryName(SampleRun.Assembly("07-StageWorker"))!,
        };
        foreach ((string name, string value) in settings)
        {
            start.Environment[name] = value;
        }

        var worker = new StageWorkerProcess(new Process { StartInfo = start, EnableRaisingEvents = true });
        worker.process.OutputDataReceived += (_, line) => worker.Take(line.Data);
        worker.process.ErrorDataReceived += (_, line) => worker.Take(line.Data);
        worker.process.Exited += (_, _) => worker.port.TrySetException(new InvalidOperationException($"The worker ended before it listened.\n{worker.Log}"));
        worker.process.Start();
        worker.process.BeginOutputReadLine();
        worker.process.BeginErrorReadLine();
        return worker;
    }

    /// <summary>Waits for a line of the log that holds <paramref name="text"/>.</summary>
    public async Task WaitForAsync(string text)
    {
        using var limit = new CancellationTokenSource(Limit);
        while (!Log.Contains(text, StringComparison.Ordinal))
        {
            await Task.Delay(50, limit.Token);
        }
    }

    /// <summary>SIGTERM, and the exit code that follows.</summary>
    public async Task<int> StopAsync()
    {
        Signals.Send(process, Signals.Terminate);
        await process.WaitForExitAsync().WaitAsync(Limit);
        return process.ExitCode;
    }

    public async ValueTask DisposeAsync()
    {
        if (!process.HasExited)
        {
            process.Kill(entireProcessTree: true);
            await process.WaitForExitAsync();
        }

        process.Dispose();
    }

    private void Take(string? line)
    {
        if (line is null)
        {
            return;
        }

        lock (lines)
        {
            lines.Add(line);
        }

        if (line.Contains("listens on ", StringComparison.Ordinal))
        {
            port.TrySetResult(int.Parse(line.AsSpan(line.LastIndexOf(':') + 1), CultureInfo.InvariantCulture));
        }
    }
}
