using E2LLM.Costs;

namespace E2LLM.Planning;

/// <summary>
/// The few numbers that planning takes from a workload. Immutable. Prompt lengths are represented by at most 64 equally likely quantiles.
/// </summary>
internal sealed class WorkloadSummary
{
    private const int QuantileCount = 64;

    public WorkloadSummary(Workload workload, ModelCost model, PlannerOptions options)
    {
        ChunkTokens = options.PrefillChunkTokens;
        PromptMean = workload.PromptTokens.Mean;
        OutputMean = workload.OutputTokens.Mean;
        Prompts = Quantiles(workload.PromptTokens);

        // A decode step meets a request in proportion to its length: E[out * (prompt + out / 2)] / E[out], lengths independent.
        double outputSquares = workload.OutputTokens.SecondMoment / workload.OutputTokens.Mean;
        DecodeContext = Math.Min(PromptMean + (outputSquares / 2), model.ContextLength);

        long cap = model.ContextLength;
        long longest = Math.Min((long)workload.PromptTokens.Max + workload.OutputTokens.Max, cap);
        LongestRequest = Math.Max(1, longest);
        SlotTokens = Math.Max(1, Math.Min(SumQuantile(workload, options.SlotContextQuantile), longest));
        LongestPrompt = Math.Max(1, Math.Min(workload.PromptTokens.Max, cap));
        MaxCycleSeconds = workload.Targets.MaxDecodeCycleSeconds;
    }

    /// <summary>Tokens of one prefill pass.</summary>
    public int ChunkTokens { get; }

    public double PromptMean { get; }

    public double OutputMean { get; }

    /// <summary>Equally likely prompt lengths.</summary>
    public double[] Prompts { get; }

    /// <summary>Cached tokens of a sequence that a decode step meets, in the mean.</summary>
    public double DecodeContext { get; }

    /// <summary>Tokens of cache that one decode slot is given.</summary>
    public long SlotTokens { get; }

    /// <summary>Tokens of the longest request, capped by the model's context.</summary>
    public long LongestRequest { get; }

    public long LongestPrompt { get; }

    /// <summary>Longest decode cycle that the targets allow.</summary>
    public double MaxCycleSeconds { get; }

    /// <summary>KV positions that a decode replica of <paramref name="slots"/> slots keeps: every slot its share, and the blocks of the longest request alone.</summary>
    public long DecodeKvTokens(int slots) => Math.Max(checked(SlotTokens * slots), StageMemory.WholeBlocks(LongestRequest));

    /// <summary>KV positions of a prefill stage: one prompt being computed and one being sent, and the blocks of one at least.</summary>
    public long PrefillKvTokens => Math.Max(2 * LongestPrompt, StageMemory.WholeBlocks(LongestPrompt));

    /// <summary>KV positions of a mixed replica: its slots and one prompt being computed.</summary>
    public long MixedKvTokens(int slots) => checked(DecodeKvTokens(slots) + LongestPrompt);

    /// <summary>Tokens of the largest pass of a replica, and rows of logits it needs.</summary>
    public (int Tokens, int LogitsRows) LargestPass(bool prefills, int batch) => StageMemory.LargestPass(prefills, ChunkTokens, LongestPrompt, batch);

    private static double[] Quantiles(LengthDistribution lengths)
    {
        int count = lengths.Min == lengths.Max ? 1 : QuantileCount;
        var values = new double[count];
        double sum = 0;
        for (int i = 0; i < count; i++)
        {
            values[i] = lengths.Quantile((i + 0.5) / count);
            sum += values[i];
        }

        // The mean stays that of the distribution, so that rates agree with token counts.
        for (int i = 0; i < count; i++)
        {
            values[i] *= lengths.Mean * count / sum;
        }

        return values;
    }

    private static long SumQuantile(Workload workload, double quantile)
    {
        LengthDistribution prompt = workload.PromptTokens, output = workload.OutputTokens;
        if (prompt.Min == prompt.Max)
        {
            return (long)prompt.Max + output.Quantile(quantile);
        }

        if (output.Min == output.Max)
        {
            return (long)output.Max + prompt.Quantile(quantile);
        }

        const int steps = 64;
        var sums = new long[steps * steps];
        for (int i = 0; i < steps; i++)
        {
            for (int j = 0; j < steps; j++)
            {
                sums[(i * steps) + j] = (long)prompt.Quantile((i + 0.5) / steps) + output.Quantile((j + 0.5) / steps);
            }
        }

        Array.Sort(sums);
        return sums[Math.Min(sums.Length - 1, (int)(quantile * sums.Length))];
    }
}
