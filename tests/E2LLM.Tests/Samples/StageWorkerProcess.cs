using System.Globalization;
using System.Text.RegularExpressions;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>One run of <c>07-StageWorker</c>, ended as a service manager ends it.</summary>
internal sealed partial class StageWorkerProcess : IAsyncDisposable
{
    private readonly ChildProcess _process;

    private StageWorkerProcess(ChildProcess process) => _process = process;

    /// <summary>Runs a command line in the sample's output folder with settings in the environment.</summary>
    public static StageWorkerProcess Start(IEnumerable<string> command, IEnumerable<KeyValuePair<string, string>> settings)
    {
        string[] words = [.. command];
        return new StageWorkerProcess(ChildProcess.Start(
            words[0], words[1..], Path.GetDirectoryName(SampleRun.Assembly("07-StageWorker")), settings.ToDictionary(setting => setting.Key, setting => (string?)setting.Value)));
    }

    /// <summary>Waits until it listens.</summary>
    /// <exception cref="InvalidOperationException">It ended before, for the reasons that it gave.</exception>
    public async Task<int> PortAsync()
    {
        await _process.UntilAsync(() => Listening().IsMatch(_process.Out), "the port that it listens on");
        return int.Parse(Listening().Match(_process.Out).Groups["port"].Value, CultureInfo.InvariantCulture);
    }

    /// <summary>Waits for a line of the log that holds <paramref name="text"/>.</summary>
    public Task WaitForAsync(string text) => _process.UntilAsync(() => _process.Out.Contains(text, StringComparison.Ordinal), $"'{text}'");

    /// <summary>SIGTERM, and the exit code that follows.</summary>
    public Task<int> StopAsync()
    {
        _process.Send(Signals.Terminate);
        return _process.WaitForExitAsync(ChildProcess.EventLimit);
    }

    public ValueTask DisposeAsync() => _process.DisposeAsync();

    [GeneratedRegex(@"listens on \S*:(?<port>\d+)\s")]
    private static partial Regex Listening();
}
