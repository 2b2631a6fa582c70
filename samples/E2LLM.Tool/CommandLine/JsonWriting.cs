using System.Text.Json;

namespace E2LLM.Tool.CommandLine;

/// <summary>The pieces of JSON that several commands write.</summary>
internal static class JsonWriting
{
    public static void WriteIds(this Utf8JsonWriter json, IEnumerable<int> ids)
    {
        json.WriteStartArray();
        foreach (int id in ids)
        {
            json.WriteNumberValue(id);
        }

        json.WriteEndArray();
    }

    public static void WriteIds(this Utf8JsonWriter json, string name, IEnumerable<int> ids)
    {
        json.WritePropertyName(name);
        json.WriteIds(ids);
    }
}
