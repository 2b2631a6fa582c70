using System.Diagnostics;
using System.Globalization;
using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Samples;
using E2LLM.Sampling;

namespace E2LLM.Tests.Replicas;

/// <summary>
/// Many requests, one after another and side by side, some given up: nothing grows. <c>E2LLM_SOAK_REQUESTS</c> sets how many (default 500); from 5,000 on the
/// resident memory of the process is judged too, which wants the test run alone.
/// </summary>
public sealed class SoakTests
{
    private const int Side = 25, MemoryMatters = 5000;

    [Fact]
    public async Task Serve_ManyRequests_HoldsNoMoreAtTheEnd()
    {
        int rounds = int.Parse(Environment.GetEnvironmentVariable("E2LLM_SOAK_REQUESTS") ?? "500", CultureInfo.InvariantCulture) / Side;
        long warm = 0, end = 0;
        int cancelled = 0, open = 0;
        await using (var cluster = new MemoryCluster { ChunkTokenCount = 32, Wrap = Count })
        {
            await using (Dispatcher dispatcher = await cluster.DispatchAsync(
                cluster.Add("soak-p", ReplicaRole.Prefill, 4), cluster.Add("soak-q", ReplicaRole.Prefill, 2, 5), cluster.Add("soak-d", ReplicaRole.Decode, 3, 6), cluster.Add("soak-e", ReplicaRole.Decode, 5)))
            {
                using var whole = new ToyExecutor(8, new LayerRange(0, 8));
                for (int round = 0; round < rounds; round++)
                {
                    await Task.WhenAll(Enumerable.Range(0, Side).Select(i => OneAsync(dispatcher, (round * Side) + i)));
                    ServingRequest judged = Request(round);
                    Assert.Equal(MemoryCluster.Reference(whole, judged), await DispatcherTests.CollectAsync(dispatcher.Serve(judged)));
                    warm = round == rounds / 5 ? ResidentBytes() : warm;
                }

                for (int i = 0; i < 500 && (cluster.Hosts.Any(host => host.UsedKvBlockCount > 0) || dispatcher.Replicas.Any(replica => replica.SequenceCount > 0)); i++)
                {
                    await Task.Delay(10);
                }

                Assert.All(cluster.Hosts, host => Assert.Equal(0, host.UsedKvBlockCount));
                end = ResidentBytes();
                Assert.Equal(OperatingSystem.IsLinux(), StageThreadCount() > 0);
            }

            await cluster.AssertEmptyAsync();
        }

        for (int i = 0; i < 500 && (Volatile.Read(ref open) > 0 || StageThreadCount() > 0); i++)
        {
            await Task.Delay(10);
        }

        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"soak: {rounds * Side} requests, {cancelled} given up, {warm / 1e6:F1} MB resident after a fifth, {end / 1e6:F1} MB at the end ({(end - warm) * 100.0 / warm:F1} %)"));
        Assert.Equal((0, 0), (open, StageThreadCount()));
        Assert.True(cancelled > rounds);
        Assert.True(rounds * Side < MemoryMatters || end < warm * 1.05, $"{warm:N0} bytes after a fifth, {end:N0} at the end");

        async Task OneAsync(Dispatcher dispatcher, int salt)
        {
            using var giveUp = new CancellationTokenSource();
            int left = salt % 5 == 0 ? salt % 7 : int.MaxValue;
            try
            {
                await foreach (int token in dispatcher.Serve(Request(salt)).WithCancellation(giveUp.Token))
                {
                    if (left-- == 0)
                    {
                        await giveUp.CancelAsync();
                    }
                }
            }
            catch (OperationCanceledException)
            {
                Interlocked.Increment(ref cancelled);
            }
        }

        Stream Count(string peer, Stream stream)
        {
            Interlocked.Increment(ref open);
            return new CountedStream(stream, () => Interlocked.Decrement(ref open));
        }
    }

    private static ServingRequest Request(int salt) =>
        DispatcherTests.Request(1 + (salt % 40), 8, new SamplingOptions { Temperature = 1, Seed = (ulong)salt }, salt);

    private static long ResidentBytes()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        using var process = Process.GetCurrentProcess();
        return process.WorkingSet64;
    }

    /// <summary>Threads of this test's stages, by the names that the kernel keeps (15 characters).</summary>
    private static int StageThreadCount()
    {
        int count = 0;
        foreach (string task in OperatingSystem.IsLinux() ? Directory.GetDirectories("/proc/self/task") : [])
        {
            try
            {
                count += File.ReadAllText(Path.Combine(task, "comm")).StartsWith("E2LLM stage soa", StringComparison.Ordinal) ? 1 : 0;
            }
            catch (IOException)
            {
                // It ended meanwhile.
            }
        }

        return count;
    }

    private sealed class CountedStream(Stream inner, Action closed) : PassingStream(inner)
    {
        private int _isClosed;

        protected override void Dispose(bool disposing)
        {
            if (Interlocked.Exchange(ref _isClosed, 1) == 0)
            {
                closed();
            }

            base.Dispose(disposing);
        }
    }
}
