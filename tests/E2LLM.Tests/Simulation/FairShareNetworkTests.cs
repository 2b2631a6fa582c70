using E2LLM.Costs;
using E2LLM.Simulation.Engine;
using E2LLM.Simulation.Models;

namespace E2LLM.Tests.Simulation;

public class FairShareNetworkTests
{
    [Fact]
    public void Start_OfTwoTransfersFromOnePort_HalvesTheirSpeed()
    {
        FairShareNetwork network = Create();
        network.Start(network.Create(0, 1, 100, 0, 0, 0), 0);
        Assert.Equal(10, network.NextCompletion(0), 1e-9);
        network.Start(network.Create(0, 2, 100, 1, 0, 0), 5);

        // 50 bytes of the first are left and go at half speed: until 15; the second then has 50 left at full speed: until 20.
        Assert.Equal(15, network.NextCompletion(5), 1e-9);
        var done = new List<int>();
        network.TakeCompleted(15, done);
        Assert.Single(done);
        Assert.Equal(20, network.NextCompletion(15), 1e-9);
        network.TakeCompleted(20, done);
        Assert.Single(done);
        Assert.Equal(200, network.DeliveredBytes, 1e-9);
    }

    [Fact]
    public void Start_OfATransferLimitedElsewhere_LeavesItsRestToOthers()
    {
        // Device 3 receives at 2 bytes/s only. Of port 0's 10 bytes/s the transfer to it gets 2, the other one 8: max-min fair.
        FairShareNetwork network = Create();
        network.Start(network.Create(0, 3, 100, 0, 0, 0), 0);
        network.Start(network.Create(0, 1, 100, 1, 0, 0), 0);
        Assert.Equal(12.5, network.NextCompletion(0), 1e-9);
        var done = new List<int>();
        network.TakeCompleted(12.5, done);
        Assert.Equal(1, network[Assert.Single(done)].Request);
        Assert.Equal(50, network.NextCompletion(12.5), 1e-9);
    }

    [Fact]
    public void Start_OfTransfersInBothDirections_SharesNothing()
    {
        FairShareNetwork network = Create();
        network.Start(network.Create(0, 1, 100, 0, 0, 0), 0);
        network.Start(network.Create(1, 0, 100, 1, 0, 0), 0);
        Assert.Equal(10, network.NextCompletion(0), 1e-9);
    }

    [Fact]
    public void MessageSeconds_WhileTransfersRun_SeesItsShareOfThePort()
    {
        FairShareNetwork network = Create();
        Assert.Equal(0.5 + 1, network.MessageSeconds(0, 1, 10), 1e-9);
        network.Start(network.Create(0, 2, 100, 0, 0, 0), 0);
        Assert.Equal(0.5 + 2, network.MessageSeconds(0, 1, 10), 1e-9);
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(4, 1.4)]
    [InlineData(10, 2)]
    [InlineData(50, 2)]
    public void MessageSeconds_WithBytesBesides_SharesThePortUntilOneIsThrough(double besides, double expected)
    {
        // Ten bytes at ten a second; each of the two gets five a second while both last.
        FairShareNetwork network = Create();
        Assert.Equal(0.5 + expected, network.MessageSeconds(0, 1, 10, besides), 1e-9);
    }

    [Fact]
    public void Cancel_OfATransfer_CountsOnlyWhatHasMoved()
    {
        FairShareNetwork network = Create();
        network.Start(network.Create(0, 1, 100, 7, 0, 0), 0);
        network.Cancel(4, flow => flow.Request == 7);
        Assert.Equal(40, network.DeliveredBytes, 1e-9);
        Assert.Equal(double.PositiveInfinity, network.NextCompletion(4));
    }

    private static FairShareNetwork Create() => new(NetworkModel.Of(Cluster.Parse("""
        { "devices": [
            { "name": "a", "memoryBytes": 1, "computeFlopsPerSecond": 1, "memoryBytesPerSecond": 1 },
            { "name": "b", "memoryBytes": 1, "computeFlopsPerSecond": 1, "memoryBytesPerSecond": 1 },
            { "name": "c", "memoryBytes": 1, "computeFlopsPerSecond": 1, "memoryBytesPerSecond": 1 },
            { "name": "d", "memoryBytes": 1, "computeFlopsPerSecond": 1, "memoryBytesPerSecond": 1 } ],
          "links": { "default": { "bytesPerSecond": 10, "roundTripSeconds": 1 }, "ports": [ { "device": "d", "bytesPerSecond": 2 } ] } }
        """)));
}
