using System.Net;
using System.Text;
using System.Text.Json;
using E2LLM.Generation;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>The web service over HTTP: what it answers, what it refuses, what it exports.</summary>
public sealed class ChatServiceTests
{
    [Fact]
    public async Task Completion_Greedy_IsTheTextOfASingleProcess()
    {
        await using ChatService service = await ChatService.StartAsync();
        using TextGenerator alone = TextGenerator.Load(ToolRun.Q8Model);
        string expected = "";
        await foreach (GeneratedToken token in alone.GenerateAsync("Once upon a time", new GenerationOptions { MaxTokenCount = 40 }))
        {
            expected += token.Text;
        }

        (HttpStatusCode status, JsonElement body) = await service.PostAsync(
            "/v1/completions", $$"""{"model":"{{ChatService.Model}}","prompt":"Once upon a time","max_tokens":40,"temperature":0}""");
        Assert.Equal(HttpStatusCode.OK, status);
        Assert.Equal(expected, body.GetProperty("choices")[0].GetProperty("text").GetString());
        Assert.Equal("length", body.GetProperty("choices")[0].GetProperty("finish_reason").GetString());
        Assert.Equal(40, body.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        (int exitCode, string log) = await service.StopAsync();
        Assert.Equal(0, exitCode);

        // It ends in order: nothing is lost on the way, and no socket stays behind.
        Assert.DoesNotContain("warn:", log, StringComparison.Ordinal);
        Assert.Empty(service.TemporaryFiles);
    }

    [Fact]
    public async Task Requests_ThatCannotBeServed_AreRefusedByParameter()
    {
        await using ChatService service = await ChatService.StartAsync();
        const string Message = "\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]";
        foreach ((string body, HttpStatusCode status, string? parameter) in new[]
        {
            ("{", HttpStatusCode.BadRequest, "body"),
            ("[]", HttpStatusCode.BadRequest, "body"),
            ("{}", HttpStatusCode.BadRequest, "model"),
            ("{\"model\":\"other\"," + Message + "}", HttpStatusCode.NotFound, "model"),
            (Of("\"messages\":[]"), HttpStatusCode.BadRequest, "messages"),
            (Of("\"messages\":[{\"role\":\"robot\",\"content\":\"\"}]"), HttpStatusCode.BadRequest, "messages[0].role"),
            (Of("\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]"), HttpStatusCode.BadRequest, "messages[0].content"),
            (Of(Message + ",\"temperature\":3"), HttpStatusCode.BadRequest, "temperature"),
            (Of(Message + ",\"max_tokens\":0"), HttpStatusCode.BadRequest, "max_tokens"),
            (Of(Message + ",\"n\":2"), HttpStatusCode.BadRequest, "n"),
            (Of(Message + ",\"stop\":[\"\"]"), HttpStatusCode.BadRequest, "stop"),
            (Of(Message + ",\"tools\":[{}]"), HttpStatusCode.BadRequest, "tools"),
            (Of(Message + ",\"response_format\":{\"type\":\"json_object\"}"), HttpStatusCode.BadRequest, "response_format"),
            (Of("\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"" + new string('a', 5000) + "\"}]"), HttpStatusCode.BadRequest, null),
        })
        {
            (HttpStatusCode answered, JsonElement reply) = await service.PostAsync("/v1/chat/completions", body);
            Assert.True(answered == status, $"{body[..Math.Min(90, body.Length)]}: {answered}, {reply}");
            JsonElement error = reply.GetProperty("error");
            Assert.Equal("invalid_request_error", error.GetProperty("type").GetString());
            Assert.Equal(parameter, error.GetProperty("param").GetString());
            Assert.NotEqual("", error.GetProperty("message").GetString());
        }

        // Empty tools and one answer are what many clients send by default.
        Assert.Equal(HttpStatusCode.OK, (await service.PostAsync("/v1/chat/completions", Of(Message + ",\"tools\":[],\"n\":1,\"max_tokens\":2"))).Status);

        static string Of(string rest) => $"{{\"model\":\"{ChatService.Model}\",{rest}}}";
    }

    [Fact]
    public async Task Stream_AbandonedByTheClient_FreesItsSequence()
    {
        await using ChatService service = await ChatService.StartAsync();
        for (int i = 0; i < 20; i++)
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/chat/completions")
            {
                Content = new StringContent($$"""{"model":"{{ChatService.Model}}","stream":true,"max_tokens":400,"messages":[{"role":"user","content":"One day"}]}"""),
            };
            using HttpResponseMessage response = await service.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        }

        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        await foreach (JsonElement live in LiveAsync(service, limit.Token))
        {
            bool isIdle = live.GetProperty("inFlight").GetInt32() == 0 && live.GetProperty("replicas").EnumerateArray()
                .All(replica => replica.GetProperty("sequences").GetInt32() == 0 && replica.GetProperty("stages").EnumerateArray().All(stage => stage.GetProperty("kvUsed").GetInt32() == 0));
            if (isIdle && live.GetProperty("done").GetInt32() == 20)
            {
                return;
            }
        }

        Assert.Fail("the requests were never all done");
    }

    [Fact]
    public async Task OpenAiClient_FromNpm_TalksToIt()
    {
        using var folder = new TemporaryFolder();
        if (await NpmInstall.FindAsync(folder.Path, "openai") is { } missing)
        {
            Console.WriteLine($"skipped: {missing}");
            return;
        }

        await using ChatService service = await ChatService.StartAsync();
        File.Copy(Repository.PathOf("tests/E2LLM.Tests/Samples/openai-client.mjs"), folder.In("client.mjs"));
        SampleRun run = (await SampleRun.OfProgram("node", ["client.mjs", $"{service.Address}v1", ChatService.Model], folder.Path)).Succeeded();
        Assert.EndsWith("all as expected\n", run.Out, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Telemetry_ToACollectorOnLoopback_ArrivesAsOtlp()
    {
        using HttpListener collector = Listen(out Uri address);
        Task<Dictionary<string, string>> collecting = CollectAsync(collector);
        await using (ChatService service = await ChatService.StartAsync(
            ("OTEL_EXPORTER_OTLP_ENDPOINT", address.ToString()), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"), ("OTEL_METRIC_EXPORT_INTERVAL", "500")))
        {
            await service.PostAsync("/v1/completions", $$"""{"model":"{{ChatService.Model}}","prompt":"Once upon a time","max_tokens":8}""");

            // What was measured goes out with the end of the service at the latest.
            Assert.Equal(0, (await service.StopAsync()).ExitCode);
        }

        collector.Stop();
        Dictionary<string, string> received = await collecting.WaitAsync(ChildProcess.EventLimit);
        Assert.Contains("e2llm.stage.duration", received["/v1/metrics"], StringComparison.Ordinal);
        Assert.Contains("E2LLM", received["/v1/traces"], StringComparison.Ordinal);
    }

    /// <summary>Listens on a port that nobody has; such a listener cannot leave the choice to the system.</summary>
    private static HttpListener Listen(out Uri address)
    {
        for (int attempt = 0; ; attempt++)
        {
            var listener = new HttpListener();
            address = new Uri($"http://127.0.0.1:{Random.Shared.Next(20_000, 30_000)}/");
            listener.Prefixes.Add(address.ToString());
            try
            {
                listener.Start();
                return listener;
            }
            catch (HttpListenerException) when (attempt < 20)
            {
                listener.Close();
            }
        }
    }

    private static async IAsyncEnumerable<JsonElement> LiveAsync(ChatService service, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        using Stream stream = await service.Http.GetStreamAsync(new Uri("/live", UriKind.Relative), ct);
        using var reader = new StreamReader(stream);
        while (await reader.ReadLineAsync(ct) is { } line)
        {
            if (line.StartsWith("data: ", StringComparison.Ordinal))
            {
                using JsonDocument document = JsonDocument.Parse(line["data: ".Length..]);
                yield return document.RootElement.Clone();
            }
        }
    }

    /// <summary>Takes every export until the listener is stopped; the bytes of a path as Latin letters, in which the names of metrics can be found.</summary>
    private static async Task<Dictionary<string, string>> CollectAsync(HttpListener collector)
    {
        var received = new Dictionary<string, string>(StringComparer.Ordinal);
        try
        {
            while (true)
            {
                HttpListenerContext context = await collector.GetContextAsync();
                using var body = new MemoryStream();
                await context.Request.InputStream.CopyToAsync(body);
                string path = context.Request.Url!.AbsolutePath;
                received[path] = received.GetValueOrDefault(path, "") + Encoding.Latin1.GetString(body.ToArray());
                context.Response.ContentType = "application/x-protobuf";
                context.Response.Close();
            }
        }
        catch (Exception stopped) when (stopped is HttpListenerException or ObjectDisposedException)
        {
            return received;
        }
    }
}
