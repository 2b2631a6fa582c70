using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Net.Sockets;
using E2LLM.Gguf;

namespace E2LLM.Samples.EdgeCluster.Stages;

/// <summary>
/// Gives devices their parts of the model: the one place that has the file. A device connects, asks for layers, gets the slice, and answers what it
/// holds then. Thread-safe.
/// </summary>
internal sealed class WeightServer : IAsyncDisposable
{
    private readonly GgufFile _file;
    private readonly TcpListener _listener;
    private readonly CancellationTokenSource _stop = new();
    private readonly ConcurrentDictionary<string, HeldWeights> _held = new();
    private readonly ConcurrentDictionary<string, long> _sentTo = new();
    private readonly Task _serving;

    public WeightServer(string modelPath)
    {
        _file = GgufFile.Open(modelPath);
        _listener = Loopback.Listen(out int port);
        Port = port;
        _serving = ServeAsync();
    }

    public int Port { get; }

    /// <summary>What each device holds by its own account.</summary>
    public IReadOnlyDictionary<string, HeldWeights> Held => _held;

    /// <summary>Called whenever a device has loaded its part, before it serves with it.</summary>
    public Action<HeldWeights>? Loaded { get; set; }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _serving;
        _listener.Dispose();
        _file.Dispose();
        _stop.Dispose();
    }

    private async Task ServeAsync()
    {
        var transfers = new List<Task>();
        try
        {
            while (true)
            {
                Stream stream = await Loopback.AcceptAsync(_listener, _stop.Token);
                transfers.Add(Task.Run(() => GiveAsync((NetworkStream)stream)));
                transfers.RemoveAll(transfer => transfer.IsCompleted);
            }
        }
        catch (OperationCanceledException)
        {
            await Task.WhenAll(transfers);
        }
    }

    /// <summary>What a device says that it holds; null where it closed the stream instead.</summary>
    private static HeldWeights? Told(NetworkStream stream)
    {
        try
        {
            SliceRequest whole = SliceRequest.Read(stream);
            byte[] answer = new byte[2 * sizeof(long)];
            stream.ReadExactly(answer);
            return new HeldWeights(whole, 0, BinaryPrimitives.ReadInt64LittleEndian(answer), BinaryPrimitives.ReadInt64LittleEndian(answer.AsSpan(sizeof(long))));
        }
        catch (EndOfStreamException)
        {
            return null;
        }
    }

    private async Task GiveAsync(NetworkStream stream)
    {
        await using (stream)
        {
            try
            {
                SliceRequest part = SliceRequest.Read(stream);
                long sent = GgufSlicer.Write(_file, part.Layers, part.Embedding, part.Head, stream, _stop.Token);
                stream.Socket.Shutdown(SocketShutdown.Send);
                long came = _sentTo.AddOrUpdate(part.Device, sent, (_, before) => before + sent);

                // Whoever has asked for nothing may tell what it holds now, with all that came since it last did.
                if (part is { Layers.Count: 0, Embedding: false, Head: false } && await Task.Run(() => Told(stream)) is { } told)
                {
                    _held[part.Device] = told with { SentBytes = came };
                    _sentTo[part.Device] = 0;
                    Loaded?.Invoke(_held[part.Device]);
                }
            }
            catch (Exception problem) when (problem is IOException or OperationCanceledException or ArgumentException)
            {
                // The device went away, or asked for what there is not: it sees the stream end early and says so to whoever ordered it to load.
            }
        }
    }
}
