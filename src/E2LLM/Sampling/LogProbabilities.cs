using System.Numerics.Tensors;

namespace E2LLM.Sampling;

/// <summary>Log-probabilities of a model's own distribution: <c>l[i] - log(sum exp l)</c>, in double precision. Stateless; thread-safe.</summary>
internal static class LogProbabilities
{
    /// <summary>Describes a choice.</summary>
    /// <param name="logits">As the model gave them, <c>[VocabularySize]</c>; at least one is finite, none NaN.</param>
    /// <param name="id">The token that was chosen.</param>
    /// <param name="topCount">How many of the most likely to list.</param>
    public static TokenChoice Describe(ReadOnlySpan<float> logits, int id, int topCount)
    {
        double largest = TensorPrimitives.Max(logits);
        double log = largest + Math.Log(Exponentials.Sum(logits, largest, temperature: 1));
        var top = new TokenLogProbability[Math.Min(topCount, logits.Length)];
        int[] ids = Largest(logits, top.Length);
        for (int i = 0; i < top.Length; i++)
        {
            top[i] = new TokenLogProbability(ids[i], (float)(logits[ids[i]] - log));
        }

        return new TokenChoice(id, (float)(logits[id] - log)) { Top = top };
    }

    /// <summary>Ids of the largest logits, largest first, equal ones by id. Insertion into a list of at most twenty.</summary>
    private static int[] Largest(ReadOnlySpan<float> logits, int count)
    {
        int[] ids = new int[count];
        int filled = 0;
        for (int id = 0; id < logits.Length && count > 0; id++)
        {
            if (filled == count && logits[id] <= logits[ids[count - 1]])
            {
                continue;
            }

            int at = filled < count ? filled++ : count - 1;
            for (; at > 0 && logits[ids[at - 1]] < logits[id]; at--)
            {
                ids[at] = ids[at - 1];
            }

            ids[at] = id;
        }

        return ids;
    }
}
