using System.Text.Json;
using E2LLM.Deployment;
using E2LLM.Replicas;
using Microsoft.Extensions.AI;

namespace E2LLM.Samples.ChatInAspNetCore.Live;

/// <summary>The page at <c>/</c>, and the events that keep it alive at <c>/live</c>.</summary>
internal static class LivePage
{
    private static readonly TimeSpan Period = TimeSpan.FromMilliseconds(400);

    public static void MapLivePage(this IEndpointRouteBuilder app)
    {
        byte[] page = Read("index.html");
        app.MapGet("/", (HttpResponse response) =>
        {
            // Everything is in the one file; nothing may be fetched from elsewhere.
            response.Headers.ContentSecurityPolicy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
            response.Headers.XContentTypeOptions = "nosniff";
            return Results.Bytes(page, "text/html; charset=utf-8");
        });
        app.MapGet("/live", async (HttpContext http, LocalCluster cluster, LiveRequests requests, Dispatcher dispatcher, IChatClient client, IHostApplicationLifetime lifetime) =>
        {
            string model = client.GetService<ChatClientMetadata>()?.DefaultModelId ?? "";
            using var ends = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, lifetime.ApplicationStopping);
            http.Response.ContentType = "text/event-stream";
            http.Response.Headers.CacheControl = "no-cache";
            try
            {
                while (true)
                {
                    await http.Response.WriteEventAsync(json => Write(json, model, cluster, requests, dispatcher), ends.Token);
                    await Task.Delay(Period, ends.Token);
                }
            }
            catch (OperationCanceledException)
            {
                // The page was closed, or the service stops.
            }
        });
    }

    private static byte[] Read(string name)
    {
        using Stream resource = typeof(LivePage).Assembly.GetManifestResourceStream(name)!;
        using var bytes = new MemoryStream();
        resource.CopyTo(bytes);
        return bytes.ToArray();
    }

    private static void Write(Utf8JsonWriter json, string model, LocalCluster cluster, LiveRequests requests, Dispatcher dispatcher)
    {
        (int inFlight, int done, int failed, double tokensPerSecond, double[] ttft, double[] tpot) = requests.Snapshot();
        json.WriteStartObject();
        json.WriteString("model", model);
        json.WriteNumber("inFlight", inFlight);
        json.WriteNumber("done", done);
        json.WriteNumber("failed", failed);
        json.WriteNumber("tokensPerSecond", Math.Round(tokensPerSecond, 1));
        Numbers(json, "ttftMs", ttft);
        Numbers(json, "tpotMs", tpot);
        json.WriteStartArray("replicas");
        IReadOnlyList<Replica> alive = dispatcher.Replicas;
        foreach (ReplicaPlan replica in cluster.Plan?.Replicas ?? [])
        {
            Replica? running = alive.FirstOrDefault(running => running.Name == replica.Name);
            json.WriteStartObject();
            json.WriteString("name", replica.Name);
            json.WriteString("role", replica.Role.ToString());
            json.WriteBoolean("alive", running is not null);
            json.WriteNumber("sequences", running?.SequenceCount ?? 0);
            json.WriteStartArray("stages");
            foreach (StagePlan stage in replica.Stages)
            {
                (int used, int all) = cluster.KvBlocks(stage.Device) ?? (0, 0);
                json.WriteStartObject();
                json.WriteString("device", stage.Device);
                json.WriteNumber("firstLayer", stage.Layers.Start);
                json.WriteNumber("lastLayer", stage.Layers.End - 1);
                json.WriteNumber("kvUsed", used);
                json.WriteNumber("kvAll", all);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void Numbers(Utf8JsonWriter json, string name, double[] values)
    {
        json.WriteStartArray(name);
        foreach (double value in values)
        {
            json.WriteNumberValue(Math.Round(value, 2));
        }

        json.WriteEndArray();
    }
}
