using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using E2LLM.Deployment;
using E2LLM.Replicas;

namespace E2LLM.Tests.Replicas;

/// <summary>
/// Drivers that come and go over real sockets, in order, by reset, and before they have said who they are. <c>E2LLM_RECONNECTS</c> sets how many (default 1,000).
/// </summary>
public sealed class ReconnectTests
{
    private const int JudgedEvery = 100;

    [Fact]
    public async Task Connect_AThousandTimes_LeavesNoSocketNoSessionAndNoReplica()
    {
        int rounds = int.Parse(Environment.GetEnvironmentVariable("E2LLM_RECONNECTS") ?? "1000", CultureInfo.InvariantCulture);
        var sockets = new ConcurrentBag<Socket>();
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        using var toy = new ToyExecutor(8, new LayerRange(0, 8));
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        var model = new ModelIdentity(ToyExecutor.ToyShape(8), new byte[32], new byte[32]);
        await using var host = new StageHost(toy, model, new StageHostOptions { Name = "a", Connect = (_, _) => throw new IOException("alone") });
        using var stop = new CancellationTokenSource();
        Task accepting = AcceptAsync();
        var plan = new ReplicaPlan { Name = "m", Role = ReplicaRole.Mixed, Stages = [new StagePlan { Device = "a", Layers = new LayerRange(0, 8), Embedding = true, Head = true }] };
        ServingRequest request = DispatcherTests.Request(30, 5);
        var seen = new List<WeakReference>();
        for (int round = 0; round < rounds; round++)
        {
            seen.Add(await OneAsync(round));
        }

        for (int i = 0; i < 500 && (host.SessionCount > 0 || sockets.Any(socket => !socket.SafeHandle.IsClosed) || Living() > 0); i++)
        {
            GC.Collect();
            await Task.Delay(10);
        }

        Assert.Equal((0, 0, 0), (host.SessionCount, host.UsedKvBlockCount, sockets.Count(socket => !socket.SafeHandle.IsClosed)));
        Assert.True(sockets.Count > 1.9 * rounds, $"{sockets.Count} sockets");
        Assert.Equal(0, Living());
        await stop.CancelAsync();
        await accepting;

        int Living() => seen.Count(reference => reference.IsAlive);

        async Task<WeakReference> OneAsync(int round)
        {
            if (round % 5 == 4)
            {
                // Gone before it has said anything.
                Socket silent = await DialAsync(reset: round % 2 == 0);
                silent.Dispose();
                return new WeakReference(null);
            }

            Socket? used = null;
            Replica replica = await Replica.ConnectAsync(plan, model, async (_, _) => new NetworkStream(used = await DialAsync(reset: false), ownsSocket: true), new ReplicaOptions { KvElementType = KvElementType.F32 });
            await using var dispatcher = new Dispatcher([replica]);
            if (round % JudgedEvery == 0)
            {
                Assert.Equal(MemoryCluster.Reference(whole, request), await DispatcherTests.CollectAsync(dispatcher.Serve(request)));
            }

            used!.LingerState = new LingerOption(round % 3 == 1, 0);
            if (round % 3 == 2)
            {
                used.Dispose();
                await replica.Lost;
            }

            return new WeakReference(replica);
        }

        async Task<Socket> DialAsync(bool reset)
        {
            var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            sockets.Add(socket);
            await socket.ConnectAsync(listener.LocalEndpoint);
            socket.LingerState = new LingerOption(reset, 0);
            return socket;
        }

        async Task AcceptAsync()
        {
            var serving = new ConcurrentDictionary<Task, byte>();
            try
            {
                while (true)
                {
                    Socket socket = await listener.AcceptSocketAsync(stop.Token);
                    sockets.Add(socket);
                    Task one = host.ServeAsync(new NetworkStream(socket, ownsSocket: true), CancellationToken.None);
                    serving.TryAdd(one, 0);
                    _ = one.ContinueWith(done => serving.TryRemove(done, out _), TaskScheduler.Default);
                }
            }
            catch (OperationCanceledException)
            {
                await Task.WhenAll(serving.Keys);
            }
        }
    }
}
