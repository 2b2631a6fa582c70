using E2LLM.Costs;

namespace E2LLM.Tests.Planning;

/// <summary>
/// A seeded generator of planning instances: devices between a small board and a desktop graphics card, an 8 to 20 billion parameter model, a chat or a
/// document workload. SplitMix64, so that the instances are the same everywhere. Also compiled into the planning report.
/// </summary>
internal sealed class RandomInstances(ulong seed)
{
    private ulong _state = seed;

    public double NextDouble()
    {
        _state += 0x9E3779B97F4A7C15;
        ulong z = _state;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return ((z ^ (z >> 31)) >> 11) * (1.0 / (1UL << 53));
    }

    public int Next(int exclusive) => (int)(NextDouble() * exclusive);

    public double Between(double low, double high) => low * Math.Pow(high / low, NextDouble());

    /// <summary>Distinct devices on one switch.</summary>
    public Cluster Cluster(int count, double memoryScale = 1) => new()
    {
        Devices = [.. Enumerable.Range(0, count).Select(i => Device($"d{i}", memoryScale))],
        DefaultLink = new NetworkLink(Between(3e7, 1.2e9), Between(1e-4, 2e-3)),
    };

    /// <summary>Distinct devices whose links all differ, each direction too.</summary>
    public Cluster Linked(int count, double memoryScale = 1)
    {
        Cluster cluster = Cluster(count, memoryScale);
        var pairs = new List<LinkPair>();
        foreach (DeviceProfile from in cluster.Devices)
        {
            foreach (DeviceProfile to in cluster.Devices)
            {
                if (from != to)
                {
                    pairs.Add(new LinkPair(from.Name, to.Name, new NetworkLink(Between(3e6, 1.2e9), Between(1e-4, 3e-2))));
                }
            }
        }

        return cluster with { Pairs = pairs };
    }

    /// <summary>Devices of a few classes on one switch.</summary>
    public Cluster Classes(int classCount, int perClass)
    {
        DeviceProfile[] kinds = [.. Enumerable.Range(0, classCount).Select(i => Device($"k{i}", 1))];
        return new Cluster
        {
            Devices = [.. Enumerable.Range(0, classCount * perClass).Select(i => kinds[i % classCount] with { Name = $"d{i}" })],
            DefaultLink = new NetworkLink(1.15e8, 4e-4),
        };
    }

    public DeviceProfile Device(string name, double memoryScale) => new()
    {
        Name = name,
        MemoryBytes = (long)(Between(3e9, 2.4e10) * memoryScale),
        ComputeFlopsPerSecond = Between(8e11, 2.5e13),
        MemoryBytesPerSecond = Between(3e10, 5e11),
        StageOverheadSeconds = Between(5e-5, 1e-3),
    };

    /// <summary>A dense model of equal layers.</summary>
    public ModelCost Model(int layers)
    {
        int hidden = 128 * (8 + Next(40)), kvHeads = 1 + Next(8);
        return ModelCost.Parse(FormattableString.Invariant($$"""
            { "name": "random", "layerCount": {{layers}}, "hiddenSize": {{hidden}}, "headCount": {{hidden / 64}}, "kvHeadCount": {{kvHeads}}, "headDim": 64,
              "feedForwardSize": {{hidden * 3}}, "vocabularySize": {{30_000 + Next(100_000)}}, "contextLength": 8192,
              "weightBitsPerWeight": {{4 + (4 * NextDouble())}}, "tiedHead": {{(Next(2) == 0 ? "true" : "false")}} }
            """));
    }

    public Workload Workload() => new()
    {
        Arrivals = ArrivalProcess.Poisson(Between(0.1, 5)),
        PromptTokens = LengthDistribution.Fixed((int)Between(50, 3000)),
        OutputTokens = LengthDistribution.Fixed((int)Between(20, 1000)),
    };
}
