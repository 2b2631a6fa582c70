using System.Globalization;

namespace E2LLM.Samples.EdgeCluster.Stages;

/// <summary>Where each device listens. It grows as devices come; connecting to one that is not in it yet waits for that. Thread-safe.</summary>
internal sealed class AddressBook
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, int> _ports = new(StringComparer.Ordinal);
    private TaskCompletionSource _grown = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Writes a book as one line: <c>device port device port ...</c>, separated by tabs.</summary>
    public static string Write(IEnumerable<(string Device, int Port)> ports) =>
        string.Join('\t', ports.SelectMany(entry => new[] { entry.Device, entry.Port.ToString(CultureInfo.InvariantCulture) }));

    /// <summary>Takes such a line.</summary>
    public void Fill(string line)
    {
        string[] fields = line.Split('\t');
        TaskCompletionSource told;
        lock (_gate)
        {
            for (int i = 0; i + 1 < fields.Length; i += 2)
            {
                _ports[fields[i]] = int.Parse(fields[i + 1], CultureInfo.InvariantCulture);
            }

            (told, _grown) = (_grown, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
        }

        told.SetResult();
    }

    /// <summary>Opens a stream to a device: the delegate that the library asks for, and whose waiting it limits.</summary>
    public async ValueTask<Stream> ConnectAsync(string device, CancellationToken ct)
    {
        int port;
        while (!TryFind(device, out port, out Task more))
        {
            await more.WaitAsync(ct);
        }

        return await Loopback.ConnectAsync(port, ct);
    }

    private bool TryFind(string device, out int port, out Task more)
    {
        lock (_gate)
        {
            more = _grown.Task;
            return _ports.TryGetValue(device, out port);
        }
    }
}
