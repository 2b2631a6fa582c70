using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Globalization;
using System.Net.Sockets;
using E2LLM.Diagnostics;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.Samples.EdgeCluster.Stages;
using E2LLM.Weights;

namespace E2LLM.Replicas.Report;

/// <summary>
/// A stage's process: loads its layers, says on which port it listens, serves until stdin ends. Lines on stdin: first the addresses, then
/// "rate N", the bytes per second at which it may send to other stages, "busy", answered with the seconds that it computed so far, or "steps", answered with
/// the process's processor time in ticks of 100 ns, then start and end of each step since the last such line, as timestamps of the machine's clock.
/// </summary>
internal static class StageServer
{
    public static async Task<int> RunAsync(StageSettings settings)
    {
        using GgufFile file = GgufFile.Open(settings.ModelPath);
        using ModelWeights weights = ModelWeights.Load(file, ModelShapeReader.Read(file), settings.Layers, settings.Embedding, settings.Head);
        using var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = settings.ThreadCount, KvBlockCount = 256 });
        using TcpListener listener = Loopback.Listen(out int port);
        var addresses = new AddressBook();
        var rate = new LinkRate();
        await using var host = new StageHost(executor, ModelIdentityReader.Read(file), new StageHostOptions
        {
            Name = settings.Device,
            Connect = async (device, ct) => new ThrottledStream(await addresses.ConnectAsync(device, ct), rate),
            Connections = StageProcess.Connections,
            SendsWhilePrefilling = settings.Overlaps,
        });
        using var stop = new CancellationTokenSource();
        Task serving = ServeAsync(host, listener, stop.Token);
        Console.WriteLine(port);
        addresses.Fill(await Console.In.ReadLineAsync() ?? "");
        double busySeconds = 0;
        var steps = new List<string>();
        using var metrics = new MeterListener();
        metrics.InstrumentPublished = (instrument, meters) =>
        {
            if (instrument.Meter.Name == Telemetry.SourceName && instrument.Name == Telemetry.StageDuration)
            {
                meters.EnableMeasurementEvents(instrument);
            }
        };
        metrics.SetMeasurementEventCallback<double>((_, seconds, _, _) =>
        {
            long end = Stopwatch.GetTimestamp();
            lock (steps)
            {
                busySeconds += seconds;
                steps.Add(string.Create(CultureInfo.InvariantCulture, $"{end - (long)(seconds * Stopwatch.Frequency)} {end}"));
            }
        });
        metrics.Start();
        while (await Console.In.ReadLineAsync() is { } line)
        {
            lock (steps)
            {
                if (line == "busy")
                {
                    Console.WriteLine(busySeconds);
                    continue;
                }

                if (line == "steps")
                {
                    Console.WriteLine(string.Join(' ', steps.Prepend(Environment.CpuUsage.TotalTime.Ticks.ToString(CultureInfo.InvariantCulture))));
                    steps.Clear();
                    continue;
                }
            }

            rate.BytesPerSecond = double.Parse(line.Split(' ')[1], CultureInfo.InvariantCulture);
        }

        await stop.CancelAsync();
        await serving;
        return 0;
    }

    private static async Task ServeAsync(StageHost host, TcpListener listener, CancellationToken ct)
    {
        var connections = new List<Task>();
        try
        {
            while (true)
            {
                connections.Add(host.ServeAsync(await Loopback.AcceptAsync(listener, ct), ct));
            }
        }
        catch (OperationCanceledException)
        {
            await Task.WhenAll(connections).ContinueWith(_ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        }
    }
}
