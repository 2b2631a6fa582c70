using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace E2LLM.Costs;

/// <summary>JSON of clusters, read and written by hand. Stateless.</summary>
internal static class ClusterJson
{
    internal static readonly JsonWriterOptions Indented = new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static Cluster Read(string json) => JsonObjectView.Parse(json, root =>
    {
        DeviceProfile[] devices = root.Array("devices", (item, path) => Device(new JsonObjectView(item, path)));
        NetworkLink? defaultLink = null;
        PortLimit[] ports = [];
        LinkPair[] pairs = [];
        if (root.Has("links"))
        {
            JsonObjectView links = root.Object("links");
            defaultLink = links.Has("default") ? Closed(links.Object("default"), Link) : null;
            ports = links.OptionalArray("ports", (item, path) => Closed(
                new JsonObjectView(item, path), port => new PortLimit(port.String("device"), port.Number("bytesPerSecond"))));
            pairs = links.OptionalArray("pairs", (item, path) => Closed(
                new JsonObjectView(item, path), pair => new LinkPair(pair.String("from"), pair.String("to"), Link(pair))));
            links.End();
        }

        root.End();
        return new Cluster { Devices = devices, DefaultLink = defaultLink, Ports = ports, Pairs = pairs };
    });

    /// <summary>Reads one device, the format of <c>e2llm profile --out</c>.</summary>
    public static DeviceProfile ReadDevice(string json) => JsonObjectView.Parse(json, Device);

    /// <summary>Writes one device, the format of <c>e2llm profile --out</c>.</summary>
    public static string WriteDevice(DeviceProfile device)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, Indented))
        {
            WriteDevice(json, device);
        }

        return Encoding.UTF8.GetString(stream.ToArray());
    }

    public static string Write(Cluster cluster)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, Indented))
        {
            json.WriteStartObject();
            json.WriteStartArray("devices");
            foreach (DeviceProfile device in cluster.Devices)
            {
                WriteDevice(json, device);
            }

            json.WriteEndArray();
            json.WriteStartObject("links");
            if (cluster.DefaultLink is not null)
            {
                json.WriteStartObject("default");
                WriteLink(json, cluster.DefaultLink);
                json.WriteEndObject();
            }

            json.WriteStartArray("ports");
            foreach (PortLimit port in cluster.Ports)
            {
                json.WriteStartObject();
                json.WriteString("device", port.Device);
                json.WriteNumber("bytesPerSecond", port.BytesPerSecond);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartArray("pairs");
            foreach (LinkPair pair in cluster.Pairs)
            {
                json.WriteStartObject();
                json.WriteString("from", pair.From);
                json.WriteString("to", pair.To);
                WriteLink(json, pair.Link);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(stream.ToArray());
    }

    public static void WriteDevice(Utf8JsonWriter json, DeviceProfile device)
    {
        json.WriteStartObject();
        json.WriteString("name", device.Name);
        json.WriteNumber("memoryBytes", device.MemoryBytes);
        json.WriteNumber("computeFlopsPerSecond", device.ComputeFlopsPerSecond);
        json.WriteNumber("memoryBytesPerSecond", device.MemoryBytesPerSecond);
        json.WriteNumber("stageOverheadSeconds", device.StageOverheadSeconds);
        json.WriteNumber("hostMemoryBytes", device.HostMemoryBytes);
        json.WriteNumber("hostBytesPerSecond", device.HostBytesPerSecond);
        if (device.Profile is { } profile)
        {
            json.WriteStartObject("profile");
            json.WriteString("modelIdentity", profile.ModelIdentity);
            json.WriteNumber("errorFraction", profile.ErrorFraction);
            json.WriteStartArray("prefill");
            foreach (PrefillPoint point in profile.Prefill)
            {
                json.WriteStartObject();
                json.WriteNumber("chunkTokens", point.ChunkTokens);
                json.WriteNumber("contextTokens", point.ContextTokens);
                json.WriteNumber("secondsPerLayer", point.SecondsPerLayer);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartArray("decode");
            foreach (DecodePoint point in profile.Decode)
            {
                json.WriteStartObject();
                json.WriteNumber("batch", point.Batch);
                json.WriteNumber("contextTokens", point.ContextTokens);
                json.WriteNumber("secondsPerLayer", point.SecondsPerLayer);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteNumber("headSeconds", profile.HeadSeconds);
            json.WriteNumber("embeddingSeconds", profile.EmbeddingSeconds);
            json.WriteEndObject();
        }

        json.WriteEndObject();
    }

    private static DeviceProfile Device(JsonObjectView device) => Closed(device, view => new DeviceProfile
    {
        Name = view.String("name"),
        MemoryBytes = view.Integer("memoryBytes"),
        ComputeFlopsPerSecond = view.Number("computeFlopsPerSecond"),
        MemoryBytesPerSecond = view.Number("memoryBytesPerSecond"),
        StageOverheadSeconds = view.Number("stageOverheadSeconds", 0),
        HostMemoryBytes = view.Integer("hostMemoryBytes", 0),
        HostBytesPerSecond = view.Number("hostBytesPerSecond", 0),
        Profile = view.Has("profile") ? Closed(view.Object("profile"), Profile) : null,
    });

    private static MeasuredProfile Profile(JsonObjectView profile) => new()
    {
        ModelIdentity = profile.String("modelIdentity", ""),
        ErrorFraction = profile.Number("errorFraction", 0),
        Prefill = profile.Array("prefill", (item, path) => Closed(new JsonObjectView(item, path), point => new PrefillPoint(
            point.Count("chunkTokens"), point.Count("contextTokens", 0), point.Number("secondsPerLayer")))),
        Decode = profile.Array("decode", (item, path) => Closed(new JsonObjectView(item, path), point => new DecodePoint(
            point.Count("batch"), point.Count("contextTokens", 0), point.Number("secondsPerLayer")))),
        HeadSeconds = profile.Number("headSeconds", 0),
        EmbeddingSeconds = profile.Number("embeddingSeconds", 0),
    };

    private static NetworkLink Link(JsonObjectView link) => new(link.Number("bytesPerSecond"), link.Number("roundTripSeconds", 0));

    private static void WriteLink(Utf8JsonWriter json, NetworkLink link)
    {
        json.WriteNumber("bytesPerSecond", link.BytesPerSecond);
        json.WriteNumber("roundTripSeconds", link.RoundTripSeconds);
    }

    private static T Closed<T>(JsonObjectView view, Func<JsonObjectView, T> read)
    {
        T value = read(view);
        view.End();
        return value;
    }
}
