using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace E2LLM.Tool.CommandLine;

/// <summary>Where a command reads and writes. Results go to <paramref name="Out"/>, everything else to <paramref name="Error"/>.</summary>
/// <param name="In">What the user types, or a pipe.</param>
/// <param name="Out">Results.</param>
/// <param name="Error">Progress and what went wrong.</param>
/// <param name="ErrorColumns">Width of the terminal that shows <paramref name="Error"/>; 0 where no terminal does.</param>
internal sealed record ToolConsole(TextReader In, TextWriter Out, TextWriter Error, int ErrorColumns = 0)
{
    // The output is a file or a pipe, never a web page: no need to escape quotes and non-ASCII letters.
    private static readonly JsonWriterOptions Compact = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes one JSON value and a line end.</summary>
    public void WriteJson(Action<Utf8JsonWriter> write)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, Compact))
        {
            write(json);
        }

        Out.Write(Encoding.UTF8.GetString(buffer.WrittenSpan));
        Out.Write('\n');
    }

    /// <summary>Writes an array of ids as one JSON value.</summary>
    public void WriteJson(IEnumerable<int> ids) => WriteJson(json => json.WriteIds(ids));
}
