using System.Net;
using System.Net.Sockets;

namespace E2LLM.Samples.EdgeCluster.Stages;

/// <summary>
/// TCP on this machine only. The library opens no socket; a host decides about addresses, TLS and who may connect. Here everything stays on
/// the loopback interface; between machines wrap the streams in <see cref="System.Net.Security.SslStream"/>.
/// </summary>
internal static class Loopback
{
    public static TcpListener Listen(out int port)
    {
        var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        port = ((IPEndPoint)listener.LocalEndpoint).Port;
        return listener;
    }

    public static async Task<Stream> AcceptAsync(TcpListener listener, CancellationToken ct)
    {
        Socket socket = await listener.AcceptSocketAsync(ct);
        socket.NoDelay = true;
        return new NetworkStream(socket, ownsSocket: true);
    }

    public static async Task<Stream> ConnectAsync(int port, CancellationToken ct)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(IPAddress.Loopback, port, ct);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
