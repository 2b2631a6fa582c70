using System.Runtime.CompilerServices;
using Microsoft.Extensions.AI;

namespace E2LLM.Samples.ChatInAspNetCore.Live;

/// <summary>What the page shows of requests: those under way, and how quick the latest were. Thread-safe.</summary>
internal sealed class LiveRequests
{
    private const int Kept = 60;
    private static readonly TimeSpan RateWindow = TimeSpan.FromSeconds(5);
    private readonly Lock gate = new();
    private readonly Queue<double> firstTokens = new(), betweenTokens = new();
    private readonly Queue<long> tokenTimes = new();
    private int inFlight, done, failed;

    /// <summary>Milliseconds to the first token and between tokens, one value for each of the latest requests; tokens in a second lately.</summary>
    public (int InFlight, int Done, int Failed, double TokensPerSecond, double[] TtftMs, double[] TpotMs) Snapshot()
    {
        lock (gate)
        {
            Forget();
            return (inFlight, done, failed, tokenTimes.Count / RateWindow.TotalSeconds, [.. firstTokens], [.. betweenTokens]);
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
        lock (gate)
        {
            inFlight += by;
        }
    }

    private void Token(long at)
    {
        lock (gate)
        {
            tokenTimes.Enqueue(at);
            Forget();
        }
    }

    private void End(bool well, int count, double ttft, double rest)
    {
        lock (gate)
        {
            done += well ? 1 : 0;
            failed += well ? 0 : 1;
            if (count > 0)
            {
                Keep(firstTokens, ttft);
            }

            if (count > 1)
            {
                Keep(betweenTokens, rest / (count - 1));
            }
        }
    }

    private void Forget()
    {
        while (tokenTimes.TryPeek(out long oldest) && TimeProvider.System.GetElapsedTime(oldest) > RateWindow)
        {
            tokenTimes.Dequeue();
        }
    }
}
