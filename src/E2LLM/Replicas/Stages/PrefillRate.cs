namespace E2LLM.Replicas.Stages;

/// <summary>
/// How long a prompt would wait for a replica: tokens ahead of it over the rate at which they go. The rate starts as planned and follows what is
/// measured, a fifth of each new value. Thread-safe.
/// </summary>
internal sealed class PrefillRate(double plannedTokensPerSecond, TimeProvider clock)
{
    private const double NewValueWeight = 0.2;

    private readonly Lock _gate = new();
    private double _tokensPerSecond = plannedTokensPerSecond;
    private long _queuedTokens;
    private long _lastDone;

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
            return (_queuedTokens + tokens) / (_tokensPerSecond > 0 ? _tokensPerSecond : 1);
        }
    }

    /// <summary>A prompt joins the queue.</summary>
    /// <returns>When, for <see cref="Done"/>.</returns>
    public long Queued(int tokens)
    {
        lock (_gate)
        {
            _queuedTokens += tokens;
            return clock.GetTimestamp();
        }
    }

    /// <summary>A prompt is through, or was given up.</summary>
    public void Done(int tokens, long queuedAt, bool completed)
    {
        lock (_gate)
        {
            _queuedTokens -= tokens;
            if (!completed)
            {
                return;
            }

            // Prompts follow one another: the replica worked on this one since the one before was done, or since it came.
            double seconds = clock.GetElapsedTime(Math.Max(queuedAt, _lastDone)).TotalSeconds;
            _lastDone = clock.GetTimestamp();
            if (seconds > 0)
            {
                double rate = tokens / seconds;
                _tokensPerSecond = _tokensPerSecond > 0 ? _tokensPerSecond + (NewValueWeight * (rate - _tokensPerSecond)) : rate;
            }
        }
    }
}
