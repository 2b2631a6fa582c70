namespace E2LLM.Scheduling;

/// <summary>
/// A sequence as the scheduler sees it: the tokens known so far and how many of them have been handed to the executor. Prefill and decode
/// differ only in how many are left to hand over. Not thread-safe: guarded by whoever owns the scheduler.
/// </summary>
internal sealed class ScheduledSequence
{
    private readonly List<int> _tokens;

    /// <summary>Starts with a prompt.</summary>
    /// <param name="tokens">Token ids from position zero on, at least one.</param>
    /// <param name="computedCount">How many of them have keys and values already.</param>
    public ScheduledSequence(IEnumerable<int> tokens, int computedCount)
    {
        _tokens = [.. tokens];
        SubmittedCount = computedCount;
    }

    /// <summary>All tokens known, prompt and generated.</summary>
    public IReadOnlyList<int> Tokens => _tokens;

    /// <summary>The same without a copy; good until the next <see cref="Append"/>.</summary>
    public ReadOnlySpan<int> TokenSpan => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_tokens);

    /// <summary>Positions handed to the executor or computed before.</summary>
    public int SubmittedCount { get; private set; }

    /// <summary>Tokens known and not yet handed over.</summary>
    public int PendingCount => _tokens.Count - SubmittedCount;

    /// <summary>Whether the next step may take one token only: the prompt is through.</summary>
    public bool IsDecoding => SubmittedCount > 0 && PendingCount <= 1;

    /// <summary>Set while nobody has room for another token: the sequence is left out of steps.</summary>
    public bool IsPaused { get; set; }

    /// <summary>When the sequence became ready for its next step; earlier goes first.</summary>
    internal long ReadySince { get; set; }

    /// <summary>Takes the first <paramref name="count"/> positions as computed already. To be called before the first step.</summary>
    public void StartAt(int count) => SubmittedCount = count;

    /// <summary>Appends a sampled token.</summary>
    public void Append(int token) => _tokens.Add(token);

    /// <summary>Takes the next <paramref name="count"/> positions as handed over.</summary>
    internal int Submit(int count)
    {
        int first = SubmittedCount;
        SubmittedCount += count;
        return first;
    }
}
