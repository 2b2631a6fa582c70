using System.Text;
using System.Text.Json;
using E2LLM.Replicas;
using E2LLM.Samples.ChatInAspNetCore.Live;
using Microsoft.Extensions.AI;

namespace E2LLM.Samples.ChatInAspNetCore.OpenAi;

/// <summary><c>/v1/chat/completions</c>, <c>/v1/completions</c> and <c>/v1/models</c>, as OpenAI's clients expect them.</summary>
internal static partial class OpenAiEndpoints
{
    /// <summary>Key of the client that puts no template between a prompt and the model.</summary>
    public const string PlainText = "plain-text";

    private static readonly DateTimeOffset Started = TimeProvider.System.GetUtcNow();

    public static void MapOpenAi(this IEndpointRouteBuilder app)
    {
        app.MapPost("/v1/chat/completions", (HttpContext http, IChatClient client) => AnswerAsync(http, client, isChat: true));
        app.MapPost("/v1/completions", (HttpContext http, [FromKeyedServices(PlainText)] IChatClient client) => AnswerAsync(http, client, isChat: false));
        app.MapGet("/v1/models", (IChatClient client) => Json(StatusCodes.Status200OK, json =>
        {
            json.WriteStartObject();
            json.WriteString("object", "list");
            json.WriteStartArray("data");
            json.WriteStartObject();
            json.WriteString("id", ModelOf(client));
            json.WriteString("object", "model");
            json.WriteNumber("created", Started.ToUnixTimeSeconds());
            json.WriteString("owned_by", "e2llm");
            json.WriteEndObject();
            json.WriteEndArray();
            json.WriteEndObject();
        }));
    }

    private static string ModelOf(IChatClient client) => client.GetService<ChatClientMetadata>()?.DefaultModelId ?? "e2llm";

    private static IResult Json(int status, Action<Utf8JsonWriter> write) => Results.Text(Encoding.UTF8.GetString(EventStream.ToJson(write)), "application/json", Encoding.UTF8, status);

    private static async Task AnswerAsync(HttpContext http, IChatClient client, bool isChat)
    {
        ILogger logger = http.RequestServices.GetRequiredService<ILogger<LiveRequests>>();
        try
        {
            await AnswerOrThrowAsync(http, client, isChat);
        }
        catch (OperationCanceledException) when (http.RequestAborted.IsCancellationRequested)
        {
            // The client went away; generation has stopped with it.
        }
        catch (Exception problem) when (Explain(problem) is { } error)
        {
            if (error.Status >= 500)
            {
                Failed(logger, problem);
            }

            if (http.Response.HasStarted)
            {
                await http.Response.WriteEventAsync(error.Write, CancellationToken.None);
                return;
            }

            await Json(error.Status, error.Write).ExecuteAsync(http);
        }
    }

    private static async Task AnswerOrThrowAsync(HttpContext http, IChatClient client, bool isChat)
    {
        CancellationToken ct = http.RequestAborted;
        OpenAiRequest request;
        using (JsonDocument body = await ReadAsync(http.Request, ct))
        {
            request = OpenAiRequest.Parse(body.RootElement, ModelOf(client), isChat);
        }

        var reply = new OpenAiReply($"{(isChat ? "chatcmpl" : "cmpl")}-{Guid.NewGuid():N}", ModelOf(client), isChat, TimeProvider.System.GetUtcNow());
        LiveRequests live = http.RequestServices.GetRequiredService<LiveRequests>();
        IAsyncEnumerable<ChatResponseUpdate> updates = live.Watch(client.GetStreamingResponseAsync(request.Messages, request.Options, ct), ct);
        if (!request.Stream)
        {
            ChatResponse whole = await updates.ToChatResponseAsync(ct);
            await Json(StatusCodes.Status200OK, json => reply.WriteWhole(json, whole.Text, whole.FinishReason, whole.Usage)).ExecuteAsync(http);
            return;
        }

        UsageDetails? usage = null;
        bool isStarted = false;
        await foreach (ChatResponseUpdate update in updates)
        {
            // Until the first token nothing is sent, so that what is wrong with a request still has a status of its own.
            if (!isStarted)
            {
                isStarted = true;
                http.Response.ContentType = "text/event-stream";
                http.Response.Headers.CacheControl = "no-cache";
                if (isChat)
                {
                    await http.Response.WriteEventAsync(reply.WriteStart, ct);
                }
            }

            usage = update.Contents.OfType<UsageContent>().FirstOrDefault()?.Details ?? usage;
            if (update.Text.Length > 0 || update.FinishReason is not null)
            {
                await http.Response.WriteEventAsync(json => reply.WriteChunk(json, update.Text, update.FinishReason), ct);
            }
        }

        if (request.IncludeUsage)
        {
            await http.Response.WriteEventAsync(json => reply.WriteUsageChunk(json, usage), ct);
        }

        await http.Response.WriteEventAsync("[DONE]"u8.ToArray(), ct);
    }

    private static async Task<JsonDocument> ReadAsync(HttpRequest request, CancellationToken ct)
    {
        try
        {
            return await JsonDocument.ParseAsync(request.Body, default, ct);
        }
        catch (JsonException wrong)
        {
            throw OpenAiException.Invalid("body", $"The body is not JSON: {wrong.Message}");
        }
    }

    private static OpenAiException? Explain(Exception problem) => problem switch
    {
        OpenAiException own => own,
        BadHttpRequestException wrong => new OpenAiException(wrong.StatusCode, wrong.Message),
        ArgumentException or NotSupportedException => new OpenAiException(StatusCodes.Status400BadRequest, problem.Message),
        NoReplicaException or PeerLostException => new OpenAiException(StatusCodes.Status503ServiceUnavailable, "No device is left that could answer; try again later."),
        OperationCanceledException => new OpenAiException(StatusCodes.Status503ServiceUnavailable, "The service stops."),
        _ => new OpenAiException(StatusCodes.Status500InternalServerError, "The request failed."),
    };

    [LoggerMessage(1, LogLevel.Error, "A request failed")]
    private static partial void Failed(ILogger logger, Exception problem);
}
