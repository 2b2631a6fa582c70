using System.Globalization;

namespace E2LLM.Samples.EdgeCluster.Stages;

/// <summary>Where each device listens. Filled once, when all of them do; connecting waits for that.</summary>
internal sealed class AddressBook
{
    private readonly TaskCompletionSource<IReadOnlyDictionary<string, int>> ports = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Writes a book as one line: <c>device port device port ...</c>, separated by tabs.</summary>
    public static string Write(IEnumerable<(string Device, int Port)> ports) =>
        string.Join('\t', ports.SelectMany(entry => new[] { entry.Device, entry.Port.ToString(CultureInfo.InvariantCulture) }));

    /// <summary>Takes such a line.</summary>
    public void Fill(string? line)
    {
        string[] fields = line?.Split('\t') ?? [];
        var read = new Dictionary<string, int>(StringComparer.Ordinal);
        for (int i = 0; i + 1 < fields.Length; i += 2)
        {
            read[fields[i]] = int.Parse(fields[i + 1], CultureInfo.InvariantCulture);
        }

        ports.TrySetResult(read);
    }

    /// <summary>Opens a stream to a device: the delegate that the library asks for.</summary>
    public async ValueTask<Stream> ConnectAsync(string device, CancellationToken ct)
    {
        IReadOnlyDictionary<string, int> known = await ports.Task.WaitAsync(ct);
        return known.TryGetValue(device, out int port)
            ? await Loopback.ConnectAsync(port, ct)
            : throw new IOException($"No process serves device '{device}'.");
    }
}
