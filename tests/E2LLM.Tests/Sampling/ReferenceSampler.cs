using E2LLM.Sampling;

namespace E2LLM.Tests.Sampling;

/// <summary>The sampler's documentation word for word, in double precision with a full sort and no buffers: the judge of the fast one.</summary>
internal static class ReferenceSampler
{
    /// <returns>The token, and how near the random number came to choosing another: what rounding may decide.</returns>
    public static (int Id, double Margin) Choose(float[] logits, SamplingOptions options, int position, int[] tokens)
    {
        float[] adjusted = Adjusted(logits, options, [.. tokens.TakeLast((int)Math.Min(options.PenaltyWindow, (long)position))]);
        int[] ranked = [.. Enumerable.Range(0, logits.Length).OrderByDescending(id => adjusted[id]).ThenBy(id => id)];
        if (options.Temperature == 0)
        {
            return (ranked[0], 1);
        }

        double[] weights = [.. ranked.Select(id => Math.Exp(((double)adjusted[id] - adjusted[ranked[0]]) / options.Temperature))];
        int count = options.TopK == 0 ? ranked.Length : Math.Min(options.TopK, ranked.Length);
        double margin = 1, total = weights.Take(count).Sum();
        if (options.TopP < 1)
        {
            double[] sums = [.. Enumerable.Range(1, count).Select(n => weights.Take(n).Sum() / total)];
            margin = sums.Min(sum => Math.Abs(sum - options.TopP));
            count = Math.Min(count, Array.FindIndex(sums, sum => sum >= options.TopP) + 1);
        }

        if (options.MinP > 0)
        {
            margin = Math.Min(margin, weights.Take(count).Skip(1).Select(weight => Math.Abs(weight - options.MinP)).Append(1).Min());
        }

        count = Math.Max(1, weights.Take(count).Count(weight => weight >= options.MinP));
        total = weights.Take(count).Sum();
        double uniform = Sampler.Uniform(options.Seed, position), reached = 0;
        for (int rank = 0; rank < count; rank++)
        {
            reached += weights[rank] / total;
            margin = Math.Min(margin, Math.Abs(reached - uniform));
            if (uniform < reached)
            {
                return (ranked[rank], margin);
            }
        }

        return (ranked[count - 1], margin);
    }

    public static double[] LogProbabilities(float[] logits)
    {
        double largest = logits.Max(), sum = logits.Sum(logit => Math.Exp(logit - largest));
        return [.. logits.Select(logit => logit - largest - Math.Log(sum))];
    }

    private static float[] Adjusted(float[] logits, SamplingOptions options, int[] recent)
    {
        float[] adjusted = [.. logits];
        for (int id = 0; id < logits.Length; id++)
        {
            double logit = adjusted[id];
            if (options.LogitBias.TryGetValue(id, out float bias))
            {
                logit = (float)(logit + bias);
            }

            int times = recent.Count(token => token == id);
            if (times > 0)
            {
                logit = logit > 0 ? logit / options.RepetitionPenalty : logit * options.RepetitionPenalty;
                logit -= (times * (double)options.FrequencyPenalty) + options.PresencePenalty;
            }

            adjusted[id] = (float)logit;
        }

        return adjusted;
    }
}
