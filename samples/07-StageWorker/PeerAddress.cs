using System.Globalization;
using System.Net.Sockets;

namespace E2LLM.Samples.StageWorker;

/// <summary>Where another device listens.</summary>
internal sealed record PeerAddress(string Host, int Port)
{
    public static bool TryParse(string text, out PeerAddress address)
    {
        int colon = text.LastIndexOf(':');
        bool isPort = ushort.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out ushort port);
        address = new PeerAddress(colon > 0 ? text[..colon].Trim('[', ']') : "", port);
        return isPort && port > 0 && address.Host.Length > 0;
    }

    public async Task<Stream> ConnectAsync(CancellationToken ct)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(Host, Port, ct);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
