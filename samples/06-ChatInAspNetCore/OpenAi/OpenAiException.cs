using System.Text.Json;

namespace E2LLM.Samples.ChatInAspNetCore.OpenAi;

/// <summary>A request that cannot be served, in the words of the protocol.</summary>
internal sealed class OpenAiException(int status, string message, string? parameter = null, string? code = null) : Exception(message)
{
    public int Status { get; } = status;

    public static OpenAiException Invalid(string parameter, string message) => new(StatusCodes.Status400BadRequest, message, parameter);

    public static OpenAiException Unsupported(string parameter, string what) =>
        new(StatusCodes.Status400BadRequest, $"'{parameter}': {what} not supported by this server.", parameter, "unsupported_parameter");

    public void Write(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteStartObject("error");
        json.WriteString("message", Message);
        json.WriteString("type", Status < 500 ? "invalid_request_error" : "server_error");
        json.WriteString("param", parameter);
        json.WriteString("code", code);
        json.WriteEndObject();
        json.WriteEndObject();
    }
}
