using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace E2LLM.Diagnostics;

/// <summary>Measures requests as their consumers see them, by OpenTelemetry's conventions for generative AI. Stateless; thread-safe.</summary>
internal static class RequestMetrics
{
    /// <summary>Passes tokens on; records duration, time to first token and time per output token once the request has ended in whatever way.</summary>
    /// <param name="tokens">The request's tokens; work begins with the enumeration.</param>
    /// <param name="model">The model's name.</param>
    /// <param name="clock">Clock of the measurements.</param>
    /// <param name="cancellationToken">Handed on to the enumeration.</param>
    public static async IAsyncEnumerable<T> Measure<T>(
        IAsyncEnumerable<T> tokens, string model, TimeProvider clock, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        long start = clock.GetTimestamp(), first = start, last = start;
        int count = 0;
        string? error = null;
        try
        {
            IAsyncEnumerator<T> enumerator = tokens.GetAsyncEnumerator(cancellationToken);
            await using (enumerator.ConfigureAwait(false))
            {
                while (true)
                {
                    try
                    {
                        if (!await enumerator.MoveNextAsync().ConfigureAwait(false))
                        {
                            break;
                        }
                    }
                    catch (Exception exception)
                    {
                        error = exception.GetType().FullName;
                        throw;
                    }

                    last = clock.GetTimestamp();
                    first = count++ == 0 ? last : first;
                    yield return enumerator.Current;
                }
            }
        }
        finally
        {
            var tags = new TagList { { Telemetry.OperationTag, "text_completion" }, { Telemetry.ProviderTag, "e2llm" }, { Telemetry.ModelTag, model } };
            if (error is not null)
            {
                tags.Add(Telemetry.ErrorTag, error);
            }

            Telemetry.RequestHistogram.Record(clock.GetElapsedTime(start).TotalSeconds, tags);
            if (count > 0)
            {
                Telemetry.TtftHistogram.Record(clock.GetElapsedTime(start, first).TotalSeconds, tags);
            }

            if (count > 1)
            {
                Telemetry.TpotHistogram.Record(clock.GetElapsedTime(first, last).TotalSeconds / (count - 1), tags);
            }
        }
    }
}
