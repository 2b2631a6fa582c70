using System.Text.Json;
using Microsoft.Extensions.AI;

namespace E2LLM.Samples.ChatInAspNetCore.OpenAi;

/// <summary>Writes answers, whole or in pieces, as chat or as plain completions.</summary>
internal sealed class OpenAiReply(string id, string model, bool isChat, DateTimeOffset createdAt)
{
    /// <summary>The first piece of a streamed chat: it says who speaks.</summary>
    public void WriteStart(Utf8JsonWriter json) => WriteChunk(json, "", null, isFirst: true);

    public void WriteChunk(Utf8JsonWriter json, string text, ChatFinishReason? finish, bool isFirst = false)
    {
        WriteHead(json, isChat ? "chat.completion.chunk" : "text_completion");
        json.WriteStartArray("choices");
        json.WriteStartObject();
        json.WriteNumber("index", 0);
        if (isChat)
        {
            json.WriteStartObject("delta");
            if (isFirst)
            {
                json.WriteString("role", "assistant");
            }

            if (isFirst || text.Length > 0)
            {
                json.WriteString("content", text);
            }

            json.WriteEndObject();
        }
        else
        {
            json.WriteString("text", text);
        }

        WriteFinish(json, finish);
        json.WriteEndObject();
        json.WriteEndArray();
        json.WriteEndObject();
    }

    /// <summary>The last piece of a stream whose client wants to know what it cost.</summary>
    public void WriteUsageChunk(Utf8JsonWriter json, UsageDetails? usage)
    {
        WriteHead(json, isChat ? "chat.completion.chunk" : "text_completion");
        json.WriteStartArray("choices");
        json.WriteEndArray();
        WriteUsage(json, usage);
        json.WriteEndObject();
    }

    public void WriteWhole(Utf8JsonWriter json, string text, ChatFinishReason? finish, UsageDetails? usage)
    {
        WriteHead(json, isChat ? "chat.completion" : "text_completion");
        json.WriteStartArray("choices");
        json.WriteStartObject();
        json.WriteNumber("index", 0);
        if (isChat)
        {
            json.WriteStartObject("message");
            json.WriteString("role", "assistant");
            json.WriteString("content", text);
            json.WriteNull("refusal");
            json.WriteEndObject();
        }
        else
        {
            json.WriteString("text", text);
        }

        WriteFinish(json, finish);
        json.WriteEndObject();
        json.WriteEndArray();
        WriteUsage(json, usage);
        json.WriteEndObject();
    }

    private static void WriteFinish(Utf8JsonWriter json, ChatFinishReason? finish)
    {
        json.WriteNull("logprobs");
        json.WriteString("finish_reason", finish?.Value);
    }

    private static void WriteUsage(Utf8JsonWriter json, UsageDetails? usage)
    {
        json.WriteStartObject("usage");
        json.WriteNumber("prompt_tokens", usage?.InputTokenCount ?? 0);
        json.WriteNumber("completion_tokens", usage?.OutputTokenCount ?? 0);
        json.WriteNumber("total_tokens", usage?.TotalTokenCount ?? 0);
        json.WriteEndObject();
    }

    private void WriteHead(Utf8JsonWriter json, string kind)
    {
        json.WriteStartObject();
        json.WriteString("id", id);
        json.WriteString("object", kind);
        json.WriteNumber("created", createdAt.ToUnixTimeSeconds());
        json.WriteString("model", model);
    }
}
