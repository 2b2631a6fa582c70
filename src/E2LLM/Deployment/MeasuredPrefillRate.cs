namespace E2LLM.Deployment;

/// <summary>
/// Seconds that a prompt token takes of a replica: as planned first, then as measured. Only prompts that followed another one at once tell it. One that came to an idle replica tells how long the
/// way through all stages is, by which a replica with little to do would seem slow, get less and never be measured anew. What dispatchers know, and simulated ones too. Not thread-safe.
/// </summary>
/// <param name="plannedTokensPerSecond">As planned; 0 where nothing is, then the first prompt tells it.</param>
internal sealed class MeasuredPrefillRate(double plannedTokensPerSecond)
{
    // What is remembered of the past with each prompt; the plan counts as one second of it at first.
    private const double Memory = 0.8;

    // A prompt that is through so much sooner than its tokens would take was read in the same step as the one before.
    private const double TogetherFraction = 0.1;

    private double _tokens = plannedTokensPerSecond;
    private double _seconds = plannedTokensPerSecond > 0 ? 1 : 0;
    private double _lastDone;
    private bool _lastTold;

    /// <summary>Seconds per token; 1 as long as nothing is known.</summary>
    public double SecondsPerToken => _tokens > 0 ? _seconds / _tokens : 1;

    /// <summary>A prompt is through.</summary>
    /// <param name="tokens">Its tokens.</param>
    /// <param name="begunAt">When it might be read, seconds from any beginning.</param>
    /// <param name="now">Now, seconds from the same beginning.</param>
    public void Done(int tokens, double begunAt, double now)
    {
        bool followed = _lastDone > begunAt;
        double seconds = now - Math.Max(begunAt, _lastDone);
        bool together = followed && seconds * _tokens < TogetherFraction * tokens * _seconds;
        _lastDone = now;

        // Prompts of one step are told apart from their first only by the plan: they share its fate.
        _lastTold = together ? _lastTold : followed || _seconds == 0;
        if (_lastTold)
        {
            double kept = together ? 1 : Memory;
            (_tokens, _seconds) = ((kept * _tokens) + tokens, (kept * _seconds) + seconds);
        }
    }
}
