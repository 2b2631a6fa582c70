using System.Net;
using System.Text.Json;
using System.Text.RegularExpressions;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>A web service, usually <c>06-ChatInAspNetCore</c>, as a process on a free port of the loopback interface.</summary>
internal sealed partial class ChatService : IAsyncDisposable
{
    public const string Model = "tinytales-3.9m";
    private readonly ChildProcess _process;

    private ChatService(ChildProcess process, Uri address)
    {
        _process = process;
        Address = address;
        Http = new HttpClient { BaseAddress = address, Timeout = ChildProcess.EventLimit };
    }

    public Uri Address { get; }

    public HttpClient Http { get; }

    /// <summary>What the service has left in the temporary folder by now.</summary>
    public string[] TemporaryFiles => _process.TemporaryFiles;

    /// <summary>Starts the sample and waits until it is healthy.</summary>
    public static Task<ChatService> StartAsync(params (string Name, string Value)[] environment) =>
        StartAsync([SampleRun.Assembly("06-ChatInAspNetCore"), "--Logging:LogLevel:Default=Warning"], "/health", environment);

    /// <summary>Starts another web service and waits until a path of it answers.</summary>
    public static async Task<ChatService> StartAsync(IEnumerable<string> program, string path, params (string Name, string Value)[] environment)
    {
        // The system gives a port that nobody has, and the host says which.
        ChildProcess process = ChildProcess.Start(
            "dotnet", [.. program, "--urls", "http://127.0.0.1:0", "--Logging:LogLevel:Microsoft.Hosting.Lifetime=Information"],
            environment: environment.ToDictionary(variable => variable.Name, variable => (string?)variable.Value));
        try
        {
            await process.UntilAsync(() => Listening().IsMatch(process.Out), "the address that it listens on");
            var service = new ChatService(process, new Uri(Listening().Match(process.Out).Groups["address"].Value));
            await service.Http.GetStringAsync(new Uri(path, UriKind.Relative));
            return service;
        }
        catch
        {
            await process.DisposeAsync();
            throw;
        }
    }

    public async Task<(HttpStatusCode Status, JsonElement Body)> PostAsync(string path, string json)
    {
        using var content = new StringContent(json, System.Text.Encoding.UTF8, "application/json");
        using HttpResponseMessage response = await Http.PostAsync(new Uri(path, UriKind.Relative), content);
        using JsonDocument document = JsonDocument.Parse(await response.Content.ReadAsStringAsync());
        return (response.StatusCode, document.RootElement.Clone());
    }

    /// <summary>SIGTERM, as a service manager ends it; all that it said.</summary>
    public async Task<(int ExitCode, string Log)> StopAsync()
    {
        _process.Send(Signals.Terminate);
        int exitCode = await _process.WaitForExitAsync(ChildProcess.EventLimit);
        return (exitCode, _process.Out + _process.Error);
    }

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        await _process.DisposeAsync();
    }

    [GeneratedRegex(@"Now listening on: (?<address>http://\S+)\s")]
    private static partial Regex Listening();
}
