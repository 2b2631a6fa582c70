using E2LLM.Deployment;

namespace E2LLM.Replicas.Stages;

/// <summary>
/// How long a prompt would wait for a replica: tokens ahead of it over the rate at which they go, which starts as planned and follows what is measured (<see cref="MeasuredPrefillRate"/>). Thread-safe.
/// </summary>
internal sealed class PrefillRate(double plannedTokensPerSecond, TimeProvider clock)
{
    private readonly Lock _gate = new();
    private readonly MeasuredPrefillRate _rate = new(plannedTokensPerSecond);
    private readonly long _start = clock.GetTimestamp();
    private long _queuedTokens;

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
            return (_queuedTokens + tokens) * _rate.SecondsPerToken;
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

    /// <summary>Seconds since <see cref="Begun"/> said so.</summary>
    public double SecondsSince(long begunAt) => clock.GetElapsedTime(begunAt).TotalSeconds;

    /// <summary>A prompt is through, or was given up.</summary>
    /// <param name="tokens">Its tokens.</param>
    /// <param name="begunAt">What <see cref="Begun"/> gave.</param>
    /// <param name="completed">Whether it is through.</param>
    public void Done(int tokens, long begunAt, bool completed)
    {
        lock (_gate)
        {
            _queuedTokens -= tokens;
            if (completed)
            {
                _rate.Done(tokens, clock.GetElapsedTime(_start, begunAt).TotalSeconds, clock.GetElapsedTime(_start).TotalSeconds);
            }
        }
    }
}
