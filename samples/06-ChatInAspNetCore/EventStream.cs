using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace E2LLM.Samples.ChatInAspNetCore;

/// <summary>Server-sent events: one JSON value each.</summary>
internal static class EventStream
{
    // Never put into a page as it stands: quotes and letters of all languages need no escapes.
    private static readonly JsonWriterOptions Plain = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static byte[] ToJson(Action<Utf8JsonWriter> write)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, Plain))
        {
            write(json);
        }

        return buffer.WrittenSpan.ToArray();
    }

    public static Task WriteEventAsync(this HttpResponse response, Action<Utf8JsonWriter> write, CancellationToken ct) =>
        response.WriteEventAsync(ToJson(write), ct);

    public static async Task WriteEventAsync(this HttpResponse response, ReadOnlyMemory<byte> data, CancellationToken ct)
    {
        await response.Body.WriteAsync("data: "u8.ToArray(), ct);
        await response.Body.WriteAsync(data, ct);
        await response.Body.WriteAsync("\n\n"u8.ToArray(), ct);
        await response.Body.FlushAsync(ct);
    }
}
