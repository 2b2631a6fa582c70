using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>A web service, usually <c>06-ChatInAspNetCore</c>, as a process on a free port of the loopback interface.</summary>
internal sealed class ChatService : IAsyncDisposable
{
    public const string Model = "tinytales-3.9m";
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);
    private readonly Process process;
    private readonly Task<string> output, error;

    private ChatService(Process process, Uri address)
    {
        this.process = process;
        output = process.StandardOutput.ReadToEndAsync();
        error = process.StandardError.ReadToEndAsync();
        Address = address;
        Http = new HttpClient { BaseAddress = address, Timeout = Limit };
    }

    public Uri Address { get; }

    public HttpClient Http { get; }

    /// <summary>Starts the sample and waits until it is healthy.</summary>
    public static Task<ChatService> StartAsync(params (string Name, string Value)[] environment) =>
        StartAsync([SampleRun.Assembly("06-ChatInAspNetCore"), "--Logging:LogLevel:Default=Warning"], "/health", environment);

    /// <summary>Starts another web service and waits until a path of it answers.</summary>
    public static async Task<ChatService> StartAsync(IEnumerable<string> program, string path, params (string Name, string Value)[] environment)
    {
        var address = new Uri($"http://127.0.0.1:{FreePort()}");
        var start = new ProcessStartInfo("dotnet", [.. program, "--urls", address.ToString()])
        {
            RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false,
        };
        foreach ((string name, string value) in environment)
        {
            start.Environment[name] = value;
        }

        var service = new ChatService(Process.Start(start)!, address);
        using var limit = new CancellationTokenSource(Limit);
        while (true)
        {
            try
            {
                await service.Http.GetStringAsync(new Uri(path, UriKind.Relative), limit.Token);
                return service;
            }
            catch (HttpRequestException) when (!service.process.HasExited)
            {
                await Task.Delay(100, limit.Token);
            }
            catch
            {
                await service.DisposeAsync();
                throw;
            }
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
        Signals.Send(process, Signals.Terminate);
        await process.WaitForExitAsync().WaitAsync(Limit);
        return (process.ExitCode, await output + await error);
    }

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        if (!process.HasExited)
        {
            process.Kill(entireProcessTree: true);
            await process.WaitForExitAsync();
        }

        process.Dispose();
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
