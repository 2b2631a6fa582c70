using System.Text.Json;
using E2LLM.Costs;
using E2LLM.Deployment;

namespace E2LLM.Simulation;

/// <summary>
/// Passes and transfers of a run, for Perfetto or chrome://tracing: one process per device, one row for its passes and one for what it sends. Filled by one run; not thread-safe.
/// </summary>
public sealed class SimulationTimeline
{
    private readonly List<(int Device, double Start, double End, int PromptTokens, int DecodeCount)> _passes = [];
    private readonly List<(int From, int To, double Start, double End, long Request)> _transfers = [];
    private readonly List<int[]> _stageDevices = [];
    private string[] _devices = [];

    /// <summary>Passes and transfers kept.</summary>
    public int Count => _passes.Count + _transfers.Count;

    /// <summary>Writes the trace as JSON in the Trace Event Format (times in microseconds).</summary>
    /// <exception cref="IOException">The stream cannot be written.</exception>
    public void WriteChromeTrace(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        using var json = new Utf8JsonWriter(stream);
        json.WriteStartObject();
        json.WriteString("displayTimeUnit", "ms");
        json.WriteStartArray("traceEvents");
        for (int i = 0; i < _devices.Length; i++)
        {
            Begin(json, "M", "process_name", i, 0);
            json.WriteStartObject("args");
            json.WriteString("name", _devices[i]);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        foreach ((int device, double start, double end, int prompt, int decode) in _passes)
        {
            Begin(json, "X", prompt > 0 ? decode > 0 ? "prefill and decode" : "prefill" : "decode", device, 0);
            Span(json, start, end);
            json.WriteStartObject("args");
            json.WriteNumber("promptTokens", prompt);
            json.WriteNumber("sequences", decode);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        foreach ((int from, int to, double start, double end, long request) in _transfers)
        {
            Begin(json, "X", $"KV of {request} to {_devices[to]}", from, 1 + to);
            Span(json, start, end);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    internal void Begin(DeploymentPlan plan, Cluster cluster)
    {
        _passes.Clear();
        _transfers.Clear();
        _stageDevices.Clear();
        _devices = [.. cluster.Devices.Select(d => d.Name)];
        _stageDevices.AddRange(plan.Replicas.Select(r => r.Stages.Select(s => cluster.IndexOf(s.Device)).ToArray()));
    }

    // Replicas of a plan that came later in the run have no row.
    internal void AddPass(int replica, int stage, double start, double end, int promptTokens, int decodeCount)
    {
        if (replica < _stageDevices.Count)
        {
            _passes.Add((_stageDevices[replica][stage], start, end, promptTokens, decodeCount));
        }
    }

    internal void AddTransfer(int from, int to, double start, double end, long request) => _transfers.Add((from, to, start, end, request));

    private static void Begin(Utf8JsonWriter json, string phase, string name, int process, int thread)
    {
        json.WriteStartObject();
        json.WriteString("ph", phase);
        json.WriteString("name", name);
        json.WriteNumber("pid", process);
        json.WriteNumber("tid", thread);
    }

    private static void Span(Utf8JsonWriter json, double start, double end)
    {
        json.WriteNumber("ts", start * 1e6);
        json.WriteNumber("dur", (end - start) * 1e6);
    }
}
