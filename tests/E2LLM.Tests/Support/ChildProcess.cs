using System.Diagnostics;
using System.Text;

namespace E2LLM.Tests.Support;

/// <summary>
/// A program that a test started. All that it says is kept; every wait for it has a limit; what it and its children put into the temporary folder lies in a
/// folder of their own; and it ends with this object, with all its children. Thread-safe but for its input.
/// </summary>
internal sealed class ChildProcess : IAsyncDisposable
{
    /// <summary>Longest wait for one event of a program that is up.</summary>
    public static readonly TimeSpan EventLimit = TimeSpan.FromMinutes(2);

    // What holds a stream open after the program's end is some process that it left behind: what was said by then is all.
    private static readonly TimeSpan LastWords = TimeSpan.FromSeconds(20);
    private readonly Lock _gate = new();
    private readonly StringBuilder _out = new(), _error = new();
    private readonly Process _process;
    private readonly TemporaryFolder _temporary;
    private readonly string _command;
    private readonly Task _ending;
    private volatile bool _isOver;
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private ChildProcess(ProcessStartInfo start, TemporaryFolder temporary)
    {
        _command = string.Join(' ', start.ArgumentList.Prepend(start.FileName));
        _temporary = temporary;
        _process = Process.Start(start)!;
        _ending = FollowAsync();
    }

    public int Id => _process.Id;

    public bool HasExited => _process.HasExited;

    public int ExitCode => _process.ExitCode;

    /// <summary>What the program reads; flushed after every write. A program that reads to the end waits until it is closed.</summary>
    public StreamWriter Input => _process.StandardInput;

    /// <summary>What the program has said on its output by now.</summary>
    public string Out => Said(_out);

    /// <summary>What the program has said on its error stream by now.</summary>
    public string Error => Said(_error);

    /// <summary>Names of what lies in the program's temporary folder.</summary>
    public string[] TemporaryFiles => [.. Directory.GetFileSystemEntries(_temporary.Path).Select(path => Path.GetFileName(path)!)];

    /// <summary>Starts a program in a folder of one's choice, with variables set or (null) removed.</summary>
    public static ChildProcess Start(string program, IEnumerable<string> args, string? folder = null, IReadOnlyDictionary<string, string?>? environment = null)
    {
        var start = new ProcessStartInfo(program, args)
        {
            RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false, WorkingDirectory = folder ?? "",
            StandardOutputEncoding = Encoding.UTF8, StandardErrorEncoding = Encoding.UTF8,
        };
        var temporary = new TemporaryFolder();
        foreach (string name in new[] { "TMPDIR", "TEMP", "TMP" })
        {
            start.Environment[name] = temporary.Path;
        }

        // A build that a test runs leaves no servers behind.
        start.Environment["MSBUILDDISABLENODEREUSE"] = "1";
        start.Environment["DOTNET_CLI_USE_MSBUILD_SERVER"] = "0";
        start.Environment["UseSharedCompilation"] = "false";
        start.Environment["DOTNET_CLI_TELEMETRY_OPTOUT"] = "1";
        start.Environment["DOTNET_NOLOGO"] = "1";
        foreach ((string name, string? value) in environment ?? new Dictionary<string, string?>())
        {
            start.Environment[name] = value;
        }

        try
        {
            return new ChildProcess(start, temporary);
        }
        catch
        {
            temporary.Dispose();
            throw;
        }
    }

    /// <summary>Waits for the program's end and for its last words.</summary>
    /// <exception cref="TimeoutException">It runs still; the message holds all that it said.</exception>
    public async Task<int> WaitForExitAsync(TimeSpan limit)
    {
        await UntilAsync(() => HasExited, "its end", limit);
        await _ending;
        return ExitCode;
    }

    /// <summary>Waits until something holds of what the program has said, or of the program.</summary>
    /// <param name="holds">Asked again whenever the program says something, and at its end.</param>
    /// <param name="what">What is waited for, in words.</param>
    /// <param name="limit">How long at most; null for <see cref="EventLimit"/>.</param>
    /// <exception cref="TimeoutException">It did not come to hold in that time.</exception>
    /// <exception cref="InvalidOperationException">The program ended before it held.</exception>
    public async Task UntilAsync(Func<bool> holds, string what, TimeSpan? limit = null)
    {
        using var stop = new CancellationTokenSource(limit ?? EventLimit);
        while (true)
        {
            Task changed;
            lock (_gate)
            {
                changed = _changed.Task;
            }

            bool isOver = _isOver;
            if (holds())
            {
                return;
            }

            if (isOver)
            {
                throw new InvalidOperationException($"'{_command}' ended with {ExitCode} before {what}.\n{Out}\n{Error}");
            }

            try
            {
                await changed.WaitAsync(stop.Token);
            }
            catch (OperationCanceledException)
            {
                throw new TimeoutException($"'{_command}': waited {(limit ?? EventLimit).TotalSeconds:F0} s in vain for {what}.\n{Out}\n{Error}");
            }
        }
    }

    public void Send(int signal) => Signals.Send(_process.Id, signal);

    /// <summary>Ends the program alone, at once; its children find out for themselves.</summary>
    public void Kill() => _process.Kill();

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
        }

        await _ending.WaitAsync(2 * LastWords).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _process.Dispose();
        _temporary.Dispose();
    }

    /// <summary>Keeps what the program says until its end.</summary>
    private async Task FollowAsync()
    {
        Task listening = Task.WhenAll(ListenAsync(_process.StandardOutput, _out), ListenAsync(_process.StandardError, _error));
        await _process.WaitForExitAsync();
        Pulse();
        await listening.WaitAsync(LastWords).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _isOver = true;
        Pulse();
    }

    private async Task ListenAsync(StreamReader reader, StringBuilder said)
    {
        var buffer = new char[4096];
        while (await reader.ReadAsync(buffer.AsMemory()) is var count and > 0)
        {
            lock (_gate)
            {
                said.Append(buffer, 0, count);
            }

            Pulse();
        }
    }

    private void Pulse()
    {
        TaskCompletionSource changed;
        lock (_gate)
        {
            (changed, _changed) = (_changed, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
        }

        changed.SetResult();
    }

    private string Said(StringBuilder said)
    {
        lock (_gate)
        {
            return said.ToString();
        }
    }
}
