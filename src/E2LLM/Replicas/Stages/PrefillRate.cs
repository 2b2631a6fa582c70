namespace E2LLM.Replicas.Stages;

/// <summary>
/// How long a prompt would wait for a replica: tokens ahead of it over the rate at which they go. The rate starts as planned and follows what is measured: only prompts that followed another one
/// at once tell it. One that came to an idle replica tells how long the way through all stages is, by which a replica with little to do would seem slow, get less and never be
/// measured anew. Thread-safe.
/// </summary>
internal sealed class PrefillRate(double plannedTokensPerSecond, TimeProvider clock)
{
    // What is remembered of the past with each prompt; the plan counts as one second of it at first.
    private const double Memory = 0.8;

    // A prompt that is through so much sooner than its tokens would take was read in the same step as the one before.
    private const double TogetherFraction = 0.1;

    private readonly Lock _gate = new();
    private double _tokens = plannedTokensPerSecond;
    private double _seconds = plannedTokensPerSecond > 0 ? 1 : 0;
    private long _queuedTokens;
    private long _lastDone;
    private bool _lastTold;

    /// <summary>Tokens of prompts begun or waiting.</summary>
    public long QueuedTokenCount
    {
        get
        {
            lock (_gate)
            {
                return _queuedTokens;
            }
        }
    }

    /// <summary>Seconds until a prompt of so many tokens would be through.</summary>
    public double EstimateSeconds(int tokens)
    {
        lock (_gate)
        {
            return (_queuedTokens + tokens) * (_tokens > 0 ? _seconds / _tokens : 1);
        }
    }

    /// <summary>A prompt joins the queue.</summary>
    public void Queued(int tokens)
    {
        lock (_gate)
        {
            _queuedTokens += tokens;
        }
    }

    /// <summary>A prompt may be read from now on.</summary>
    /// <returns>Now, for <see cref="Done"/>.</returns>
    public long Begun() => clock.GetTimestamp();

    /// <summary>A prompt is through, or was given up.</summary>
    /// <param name="tokens">Its tokens.</param>
    /// <param name="begunAt">What <see cref="Begun"/> gave.</param>
    /// <param name="completed">Whether it is through.</param>
    public void Done(int tokens, long begunAt, bool completed)
    {
        lock (_gate)
        {
            _queuedTokens -= tokens;
            if (!completed)
            {
                return;
            }

            bool followed = _lastDone > begunAt;
            double seconds = clock.GetElapsedTime(Math.Max(begunAt, _lastDone)).TotalSeconds;
            bool together = followed && seconds * _tokens < TogetherFraction * tokens * _seconds;
            _lastDone = clock.GetTimestamp();

            // Prompts of one step are told apart from their first only by the plan: they share its fate.
            _lastTold = together ? _lastTold : followed || _seconds == 0;
            if (_lastTold)
            {
                double kept = together ? 1 : Memory;
                (_tokens, _seconds) = ((kept * _tokens) + tokens, (kept * _seconds) + seconds);
            }
        }
    }
}
