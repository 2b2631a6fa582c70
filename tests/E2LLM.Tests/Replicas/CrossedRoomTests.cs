using E2LLM.Deployment;
using E2LLM.Replicas;

namespace E2LLM.Tests.Replicas;

/// <summary>Requests that hold room on one replica while they wait for room on another.</summary>
public sealed class CrossedRoomTests
{
    [Theory]
    [InlineData(ReplicaRole.Mixed, ReplicaRole.Mixed), InlineData(ReplicaRole.Mixed, ReplicaRole.Decode), InlineData(ReplicaRole.Prefill, ReplicaRole.Mixed), InlineData(ReplicaRole.Decode, ReplicaRole.Decode)]
    public async Task Serve_ReplicasThatReadForEachOtherWithLittleRoom_NeverWaitInACircle(ReplicaRole first, ReplicaRole second)
    {
        await using var cluster = new MemoryCluster();
        await using (Dispatcher dispatcher = await cluster.DispatchAsync(
            cluster.Add("m", first, [4], range => new ToyExecutor(8, range, blockCount: 2)), cluster.Add("n", second, [3], range => new ToyExecutor(8, range, blockCount: 2))))
        {
            using var whole = new ToyExecutor(8, new LayerRange(0, 8));
            ServingRequest[] requests = [.. Enumerable.Range(0, 60).Select(i => DispatcherTests.Request(1 + (i * 37 % 110), 12, salt: i))];
            List<int>[] actual = await Task.WhenAll(requests.Select(request => DispatcherTests.CollectAsync(dispatcher.Serve(request)))).WaitAsync(TimeSpan.FromMinutes(1));
            Assert.Equal(requests.Select(request => MemoryCluster.Reference(whole, request)), actual);
        }

        await cluster.AssertEmptyAsync();
    }
}
