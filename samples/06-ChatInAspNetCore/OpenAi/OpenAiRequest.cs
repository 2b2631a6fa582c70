using System.Text.Json;
using Microsoft.Extensions.AI;

namespace E2LLM.Samples.ChatInAspNetCore.OpenAi;

/// <summary>
/// What a client asks for. What we cannot do is refused, not passed over; fields that only describe the caller (user, metadata, store) are not looked at.
/// </summary>
internal sealed record OpenAiRequest(IReadOnlyList<ChatMessage> Messages, ChatOptions Options, bool Stream, bool IncludeUsage)
{
    private static readonly string[] Refused = ["tools", "functions", "audio", "prediction", "suffix", "logit_bias"];

    /// <summary>Reads the body of a chat or of a plain completion.</summary>
    /// <exception cref="OpenAiException">Something is missing, of the wrong kind, or not supported.</exception>
    public static OpenAiRequest Parse(JsonElement body, string servedModel, bool isChat)
    {
        if (body.ValueKind != JsonValueKind.Object)
        {
            throw OpenAiException.Invalid("body", "The body must be a JSON object.");
        }

        string model = Text(body, "model") ?? throw OpenAiException.Invalid("model", "'model' is required.");
        if (model != servedModel)
        {
            throw new OpenAiException(StatusCodes.Status404NotFound, $"The model '{model}' does not exist; this server has '{servedModel}'.", "model", "model_not_found");
        }

        RefuseWhatWeLack(body, isChat);
        var options = new ChatOptions
        {
            Temperature = Number(body, "temperature", 0, 2),
            TopP = Number(body, "top_p", 0, 1),
            FrequencyPenalty = Number(body, "frequency_penalty", -2, 2),
            PresencePenalty = Number(body, "presence_penalty", -2, 2),
            MaxOutputTokens = Count(body, "max_completion_tokens") ?? Count(body, "max_tokens"),
            Seed = Whole(body, "seed", long.MinValue, long.MaxValue),
            StopSequences = Stops(body),
        };
        bool includeUsage = body.TryGetProperty("stream_options", out JsonElement stream) && stream.ValueKind == JsonValueKind.Object && Flag(stream, "include_usage");
        return new OpenAiRequest(isChat ? Conversation(body) : [new ChatMessage(ChatRole.User, Prompt(body))], options, Flag(body, "stream"), includeUsage);
    }

    private static void RefuseWhatWeLack(JsonElement body, bool isChat)
    {
        foreach (string name in Refused.Where(name => Has(body, name) && !IsEmpty(body.GetProperty(name))))
        {
            throw OpenAiException.Unsupported(name, "this is");
        }

        foreach (string name in new[] { "n", "best_of" }.Where(name => Count(body, name) > 1))
        {
            throw OpenAiException.Unsupported(name, "more than one answer is");
        }

        if (Has(body, "logprobs") && (!isChat || Flag(body, "logprobs")))
        {
            throw OpenAiException.Unsupported("logprobs", "this is");
        }

        if (!isChat && Flag(body, "echo"))
        {
            throw OpenAiException.Unsupported("echo", "this is");
        }

        if (Has(body, "response_format") && (body.GetProperty("response_format") is not { ValueKind: JsonValueKind.Object } format || Text(format, "type") != "text"))
        {
            throw OpenAiException.Unsupported("response_format", "formats other than text are");
        }
    }

    private static List<ChatMessage> Conversation(JsonElement body)
    {
        if (!body.TryGetProperty("messages", out JsonElement messages) || messages.ValueKind != JsonValueKind.Array || messages.GetArrayLength() == 0)
        {
            throw OpenAiException.Invalid("messages", "'messages' must be an array of at least one message.");
        }

        var conversation = new List<ChatMessage>();
        foreach (JsonElement message in messages.EnumerateArray())
        {
            string at = $"messages[{conversation.Count}]";
            if (message.ValueKind != JsonValueKind.Object || !message.TryGetProperty("content", out JsonElement content))
            {
                throw OpenAiException.Invalid(at, $"{at} must be an object with 'role' and 'content'.");
            }

            ChatRole role = Text(message, "role") switch
            {
                "system" or "developer" => ChatRole.System,
                "user" => ChatRole.User,
                "assistant" => ChatRole.Assistant,
                var other => throw OpenAiException.Invalid($"{at}.role", $"{at}.role '{other}' is none of: system, developer, user, assistant."),
            };
            conversation.Add(new ChatMessage(role, Content(content, $"{at}.content")));
        }

        return conversation;
    }

    private static string Content(JsonElement content, string at) => content.ValueKind switch
    {
        JsonValueKind.String => content.GetString()!,
        JsonValueKind.Array => string.Concat(content.EnumerateArray().Select(part =>
            part.ValueKind == JsonValueKind.Object && Text(part, "type") == "text" && Text(part, "text") is { } text
                ? text
                : throw OpenAiException.Unsupported(at, "parts other than text are"))),
        _ => throw OpenAiException.Invalid(at, $"{at} must be a text, or an array of text parts."),
    };

    private static string Prompt(JsonElement body)
    {
        if (body.TryGetProperty("prompt", out JsonElement prompt))
        {
            if (prompt.ValueKind == JsonValueKind.String)
            {
                return prompt.GetString()!;
            }

            if (prompt.ValueKind == JsonValueKind.Array && prompt.GetArrayLength() == 1 && prompt[0].ValueKind == JsonValueKind.String)
            {
                return prompt[0].GetString()!;
            }
        }

        throw OpenAiException.Invalid("prompt", "'prompt' must be one text.");
    }

    private static List<string>? Stops(JsonElement body)
    {
        if (!Has(body, "stop"))
        {
            return null;
        }

        JsonElement stop = body.GetProperty("stop");
        JsonElement[] stops = stop.ValueKind == JsonValueKind.Array ? [.. stop.EnumerateArray()] : [stop];
        return stops.Length <= 4 && stops.All(text => text.ValueKind == JsonValueKind.String && text.GetString()!.Length > 0)
            ? [.. stops.Select(text => text.GetString()!)]
            : throw OpenAiException.Invalid("stop", "'stop' must be a text or up to four of them, none empty.");
    }

    private static bool Has(JsonElement body, string name) => body.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null;

    private static bool IsEmpty(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Array => value.GetArrayLength() == 0,
        JsonValueKind.Object => !value.EnumerateObject().Any(),
        JsonValueKind.String => value.GetString()!.Length == 0,
        _ => false,
    };

    private static string? Text(JsonElement body, string name) =>
        body.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static bool Flag(JsonElement body, string name) => Has(body, name) && body.GetProperty(name).ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw OpenAiException.Invalid(name, $"'{name}' must be true or false."),
    };

    private static float? Number(JsonElement body, string name, float least, float most)
    {
        if (!Has(body, name))
        {
            return null;
        }

        return body.GetProperty(name) is { ValueKind: JsonValueKind.Number } value && value.TryGetSingle(out float number) && number >= least && number <= most
            ? number
            : throw OpenAiException.Invalid(name, $"'{name}' must be a number from {least} to {most}.");
    }

    private static long? Whole(JsonElement body, string name, long least, long most)
    {
        if (!Has(body, name))
        {
            return null;
        }

        return body.GetProperty(name) is { ValueKind: JsonValueKind.Number } value && value.TryGetInt64(out long number) && number >= least && number <= most
            ? number
            : throw OpenAiException.Invalid(name, $"'{name}' must be a whole number of at least {least}.");
    }

    private static int? Count(JsonElement body, string name) => (int?)Whole(body, name, 1, int.MaxValue);
}
