using System.Diagnostics.Metrics;
using E2LLM.Diagnostics;

namespace E2LLM.Tests.Replicas;

/// <summary>Everything that the library's meter says about devices whose names begin alike; other tests run beside.</summary>
internal sealed class MetricLog : IDisposable
{
    private readonly Lock _gate = new();
    private readonly List<(string Name, string Device, double Value, string? Tokens)> _entries = [];
    private readonly MeterListener _listener = new();
    private readonly string _prefix;

    public MetricLog(string prefix)
    {
        _prefix = prefix;
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter.Name == Telemetry.SourceName)
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        _listener.SetMeasurementEventCallback<int>((instrument, value, tags, _) => Take(instrument.Name, value, tags));
        _listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Take(instrument.Name, value, tags));
        _listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Take(instrument.Name, value, tags));
        _listener.Start();
    }

    /// <summary>Values of an instrument at one device, in order.</summary>
    public double[] Of(string name, string device, string? tokens = null)
    {
        lock (_gate)
        {
            return [.. _entries.Where(entry => entry.Name == name && entry.Device == device && (tokens is null || entry.Tokens == tokens)).Select(entry => entry.Value)];
        }
    }

    /// <summary>Asks a gauge now.</summary>
    public double Ask(string name, string device)
    {
        _listener.RecordObservableInstruments();
        return Of(name, device)[^1];
    }

    public void Dispose() => _listener.Dispose();

    private void Take(string name, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        string? device = null, tokens = null;
        foreach (KeyValuePair<string, object?> tag in tags)
        {
            device = tag.Key == Telemetry.DeviceTag ? tag.Value as string : device;
            tokens = tag.Key == Telemetry.TokensTag ? tag.Value as string : tokens;
        }

        if (device?.StartsWith(_prefix, StringComparison.Ordinal) == true)
        {
            lock (_gate)
            {
                _entries.Add((name, device, value, tokens));
            }
        }
    }
}
