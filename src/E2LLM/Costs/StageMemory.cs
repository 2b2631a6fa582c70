namespace E2LLM.Costs;

/// <summary>
/// What the memory of a stage is reserved for: whole blocks of keys and values, and the activations of its largest pass. The planner sizes stages by this and the simulator fills
/// them by this, so that a plan that fits on paper also fits when it is simulated. Stateless.
/// </summary>
internal static class StageMemory
{
    /// <summary>Positions of a block, as in the KV cache of this library.</summary>
    public const int BlockTokenCount = 64;

    /// <summary>Positions that <paramref name="tokens"/> occupy: whole blocks.</summary>
    public static long WholeBlocks(long tokens) => checked(tokens + BlockTokenCount - 1) / BlockTokenCount * BlockTokenCount;

    /// <summary>Sequences of one decode pass: <paramref name="slots"/> spread over as many passes in flight as there are stages; 1 where nothing decodes.</summary>
    public static int DecodeBatch(int slots, int stageCount)
    {
        int lanes = Math.Min(stageCount, slots);
        return slots < 1 ? 1 : (slots + lanes - 1) / lanes;
    }

    /// <summary>Tokens of the largest pass that a stage must have room for, and its rows of logits: a chunk of the longest prompt, or a decode step.</summary>
    /// <param name="prefills">Whether the stage computes prompts.</param>
    /// <param name="chunkTokens">Most prompt tokens of a pass.</param>
    /// <param name="longestPrompt">Tokens of the longest prompt.</param>
    /// <param name="batch">Sequences of a decode step; 1 where nothing decodes.</param>
    public static (int Tokens, int LogitsRows) LargestPass(bool prefills, int chunkTokens, long longestPrompt, int batch) => prefills
        ? (Math.Max((int)Math.Min(chunkTokens, longestPrompt), batch), Math.Max(1, batch))
        : (batch, batch);

    /// <summary>
    /// Tokens of the largest pass that a stage can have whose plan leaves <paramref name="slackBytes"/> free: short prompts may share a pass of up to
    /// <paramref name="chunkTokens"/> where memory is left for that, and never at the cost of the keys and values that were planned.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="head">Whether the stage has the head.</param>
    /// <param name="planned">The pass that the plan has room for, see <see cref="LargestPass"/>.</param>
    /// <param name="chunkTokens">Most tokens that are wanted.</param>
    /// <param name="slackBytes">Bytes of the device that the plan does not need; zero or more.</param>
    public static int PassTokens(ModelCost model, bool head, (int Tokens, int LogitsRows) planned, int chunkTokens, double slackBytes)
    {
        long plannedBytes = model.ActivationBytes(planned.Tokens, planned.LogitsRows, head);
        double perToken = Math.Max(1, model.ActivationBytes(1, 0, head));
        double more = Math.Floor(Math.Max(0, slackBytes) / perToken);
        int tokens = planned.Tokens + (int)Math.Min(more, Math.Max(0, chunkTokens - planned.Tokens));
        return model.ActivationBytes(tokens, planned.LogitsRows, head) - plannedBytes <= Math.Max(0, slackBytes) ? tokens : planned.Tokens;
    }
}
