namespace E2LLM.Simulation.SplitwiseSim;

/// <summary>The constants of one splitwise-sim run; defaults are those of its published configurations.</summary>
internal sealed record SplitwiseSettings
{
    public required double WeightBytes { get; init; }

    /// <summary>2 (keys, values) x hidden size x layers x 2 bytes: the original ignores that query heads share keys and values.</summary>
    public required double KvBytesPerToken { get; init; }

    public double MachineMemoryBytes { get; init; } = 8 * 85_899_345_920.0;

    public int MaxBatchTaskCount { get; init; } = 512;

    public int MaxBatchTokenCount { get; init; } = 2048;

    public int MaxPreemptionCount { get; init; } = 4;

    public int MaxPendingPromptTokenCount { get; init; } = 8192;

    public double TransferBytesPerSecond { get; init; } = 200 * 1073741824.0;

    public double TransferRetrySeconds { get; init; } = 1;

    public static SplitwiseSettings Llama2With70B { get; } = new() { WeightBytes = 135e9, KvBytesPerToken = 2.0 * 8192 * 80 * 2 };

    public static SplitwiseSettings BloomWith176B { get; } = new() { WeightBytes = 329e9, KvBytesPerToken = 2.0 * 14336 * 70 * 2 };
}
