using E2LLM.Costs;

namespace E2LLM.Tests.Costs;

/// <summary>Small clusters, models and workloads that several tests share.</summary>
internal static class TestClusters
{
    public const string LlamaShape = """
        { "name": "llama-3.1-8b", "layerCount": 32, "hiddenSize": 4096, "headCount": 32, "kvHeadCount": 8, "headDim": 128, "feedForwardSize": 14336,
          "vocabularySize": 128256, "contextLength": 8192, "tensorType": "Q4_K_M", "weightBitsPerWeight": 4.83, "kvElementType": "F16", "tiedHead": false,
          "expertCount": 0, "expertUsedCount": 0, "slidingWindow": 0, "slidingWindowEvery": 1 }
        """;

    // GPT-OSS-20B: 24 layers, 32 experts of which a token uses 4, a window of 128 in every second layer.
    public const string GptOssShape = """
        { "name": "gpt-oss-20b", "layerCount": 24, "hiddenSize": 2880, "headCount": 64, "kvHeadCount": 8, "headDim": 64, "feedForwardSize": 2880,
          "vocabularySize": 201088, "contextLength": 8192, "tensorType": "MXFP4", "weightBitsPerWeight": 4.6, "kvElementType": "F16",
          "expertCount": 32, "expertUsedCount": 4, "slidingWindow": 128, "slidingWindowEvery": 2 }
        """;

    public static Cluster Uniform(int count) => new()
    {
        Devices = [.. Enumerable.Range(0, count).Select(i => new DeviceProfile
        {
            Name = $"d{i}",
            MemoryBytes = 12_000_000_000,
            ComputeFlopsPerSecond = 5e12,
            MemoryBytesPerSecond = 2e11,
        })],
        DefaultLink = new NetworkLink(1.15e8, 0.0004),
    };

    public static Workload Work(int prompt, int output, double requestsPerSecond = 1, ServiceTargets? targets = null) => new()
    {
        Arrivals = ArrivalProcess.Poisson(requestsPerSecond),
        PromptTokens = LengthDistribution.Fixed(prompt),
        OutputTokens = LengthDistribution.Fixed(output),
        Targets = targets ?? new ServiceTargets(),
    };
}
