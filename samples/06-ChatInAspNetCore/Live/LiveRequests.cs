using System.Runtime.CompilerServices;
using Microsoft.Extensions.AI;

namespace E2LLM.Samples.ChatInAspNetCore.Live;

/// <summary>What the page shows of requests: those under way, and how quick the latest were. Thread-safe.</summary>
internal sealed class LiveRequests
{
    private const int Kept = 60;
    private static readonly TimeSpan RateWindow = TimeSpan.FromSeconds(5);
    private readonly Lock _gate = new();
    private readonly Queue<double> _firstTokens = new(), _betweenTokens = new();
    private readonly Queue<long> _tokenTimes = new();
    private int _inFlight, _done, _failed;

    /// <summary>Milliseconds to the first token and between tokens, one value for each of the latest requests; tokens in a second lately.</summary>
    public (int InFlight, int Done, int Failed, double TokensPerSecond, double[] TtftMs, double[] TpotMs) Snapshot()
    {
        lock (_gate)
        {
            Forget();
            return (_inFlight, _done, _failed, _tokenTimes.Count / RateWindow.TotalSeconds, [.. _firstTokens], [.. _betweenTokens]);
        }
    }

    /// <summary>Passes a response through and takes its times.</summary>
    public async IAsyncEnumerable<ChatResponseUpdate> Watch(IAsyncEnumerable<ChatResponseUpdate> response, [EnumeratorCancellation] CancellationToken ct)
    {
        long start = TimeProvider.System.GetTimestamp(), first = 0, last = 0;
        int count = 0;
        bool completed = false;
        Change(+1);
        try
        {
            await foreach (ChatResponseUpdate update in response.WithCancellation(ct))
            {
                if (update.FinishReason is null)
                {
                    last = TimeProvider.System.GetTimestamp();
                    first = count++ == 0 ? last : first;
                    Token(last);
                }

                yield return update;
            }

            completed = true;
        }
        finally
        {
            Change(-1);
            End(completed || ct.IsCancellationRequested, count, Milliseconds(start, first), Milliseconds(first, last));
        }
    }

    private static double Milliseconds(long from, long to) => TimeProvider.System.GetElapsedTime(from, to).TotalMilliseconds;

    private static void Keep(Queue<double> values, double value)
    {
        values.Enqueue(value);
        if (values.Count > Kept)
        {
            values.Dequeue();
        }
    }

    private void Change(int by)
    {
        lock (_gate)
        {
            _inFlight += by;
        }
    }

    private void Token(long at)
    {
        lock (_gate)
        {
            _tokenTimes.Enqueue(at);
            Forget();
        }
    }

    private void End(bool well, int count, double ttft, double rest)
    {
        lock (_gate)
        {
            _done += well ? 1 : 0;
            _failed += well ? 0 : 1;
            if (count > 0)
            {
                Keep(_firstTokens, ttft);
            }

            if (count > 1)
            {
                Keep(_betweenTokens, rest / (count - 1));
            }
        }
    }

    private void Forget()
    {
        while (_tokenTimes.TryPeek(out long oldest) && TimeProvider.System.GetElapsedTime(oldest) > RateWindow)
        {
            _tokenTimes.Dequeue();
        }
    }
}
