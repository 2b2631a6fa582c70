using E2LLM.Costs;

namespace E2LLM.Simulation.Report;

/// <summary>The paper's devices, model and workloads (arXiv 2606.03770, section IV), and the waiting times that it prints.</summary>
internal static class PaperSetting
{
    /// <summary>
    /// GPT-OSS-20B: 24 layers, 32 experts of which 4 are used, every second layer with a window of 128. The published MXFP4 file has 12.1 GB: 4.63 bits a
    /// weight in the mean (4.25 for the experts, more for the rest).
    /// </summary>
    public static ModelCost Model { get; } = ModelCost.Parse("""
        { "name": "gpt-oss-20b", "layerCount": 24, "hiddenSize": 2880, "headCount": 64, "kvHeadCount": 8, "headDim": 64, "feedForwardSize": 2880,
          "vocabularySize": 201088, "contextLength": 131072, "tensorType": "MXFP4", "weightBitsPerWeight": 4.63, "kvElementType": "F16", "tiedHead": false,
          "expertCount": 32, "expertUsedCount": 4, "slidingWindow": 128, "slidingWindowEvery": 2 }
        """);

    /// <summary>Least decode speed of a request.</summary>
    public const double MinimumDecodeTokensPerSecond = 15;

    public static readonly double[] Periods = [0.5, 1, 2, 3];

    public static readonly (string Name, int Prompt, int Output)[] Lengths = [("extended", 576, 588), ("custom", 2284, 1004)];

    /// <summary>Mean waits that the paper prints: (workload, period) to (E2LLM, adapted Splitwise), seconds.</summary>
    public static readonly Dictionary<(string, double), (double E2llm, double Splitwise)> Published = new()
    {
        [("extended", 0.5)] = (75.1, 191.1),
        [("extended", 1)] = (56.1, 155.9),
        [("extended", 2)] = (8.1, 147.5),
        [("extended", 3)] = (3.5, 17.1),
        [("custom", 0.5)] = (167.1, 246.9),
        [("custom", 1)] = (130.8, 275.2),
    };

    public static Workload Workload(int prompt, int output, double period) => new()
    {
        Arrivals = ArrivalProcess.Fixed(period),
        PromptTokens = LengthDistribution.Fixed(prompt),
        OutputTokens = LengthDistribution.Fixed(output),
        Targets = new ServiceTargets { MinimumDecodeTokensPerSecond = MinimumDecodeTokensPerSecond },
    };

    public static SimulatedRequest[] Requests(int prompt, int output, double period, int count) =>
        [.. Enumerable.Range(0, count).Select(i => new SimulatedRequest(i * period, prompt, output))];
}
