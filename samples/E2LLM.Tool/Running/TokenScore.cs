namespace E2LLM.Tool.Running;

/// <summary>A token and its logit.</summary>
internal readonly record struct TokenScore(int Id, float Logit)
{
    /// <summary>The <paramref name="count"/> best tokens of a row, best first; of equal ones the lower id first.</summary>
    public static TokenScore[] Best(ReadOnlySpan<float> row, int count)
    {
        var all = new TokenScore[row.Length];
        for (int id = 0; id < row.Length; id++)
        {
            all[id] = float.IsNaN(row[id])
                ? throw new ArithmeticException($"the logit of token {id} is not a number.")
                : new TokenScore(id, row[id]);
        }

        Array.Sort(all, (a, b) => a.Logit != b.Logit ? b.Logit.CompareTo(a.Logit) : a.Id.CompareTo(b.Id));
        return all[..count];
    }
}
