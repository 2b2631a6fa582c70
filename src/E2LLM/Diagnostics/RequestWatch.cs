using System.Diagnostics;
using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;

namespace E2LLM.Diagnostics;

/// <summary>
/// Follows one request as its consumer sees it: metrics and an activity by OpenTelemetry's conventions for generative AI, and the log. Used by one caller;
/// dispose it when the request has ended.
/// </summary>
internal sealed class RequestWatch : IDisposable
{
    private static long s_count;
    private readonly ILogger _logger;
    private readonly TimeProvider _clock;
    private readonly string _model;
    private readonly int _promptTokenCount;
    private readonly int _maxTokenCount;

    /// <summary>Starts the activity, where anybody listens.</summary>
    /// <param name="logger">Takes beginning and end.</param>
    /// <param name="model">The model's name.</param>
    /// <param name="kind">Internal where this process computes, client where others do.</param>
    /// <param name="promptTokenCount">Tokens of the prompt.</param>
    /// <param name="maxTokenCount">Tokens to generate at most.</param>
    /// <param name="clock">Clock of the measurements.</param>
    public RequestWatch(ILogger logger, string model, ActivityKind kind, int promptTokenCount, int maxTokenCount, TimeProvider clock)
    {
        (_logger, _model, _clock, _promptTokenCount, _maxTokenCount) = (logger, model, clock, promptTokenCount, maxTokenCount);
        Id = Interlocked.Increment(ref s_count);
        Activity = Telemetry.StartRequest(model, kind);
        Activity?.SetTag(Telemetry.InputTokensTag, promptTokenCount).SetTag(Telemetry.MaxTokensTag, maxTokenCount);
    }

    /// <summary>Number of the request in this process's log.</summary>
    public long Id { get; }

    /// <summary>The request's activity; null where nobody listens.</summary>
    public Activity? Activity { get; }

    /// <summary>Passes tokens on; records and logs once the request has ended in whatever way.</summary>
    /// <param name="tokens">The request's tokens; work begins with the enumeration.</param>
    /// <param name="cancellationToken">Handed on to the enumeration.</param>
    public async IAsyncEnumerable<T> Follow<T>(IAsyncEnumerable<T> tokens, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        RuntimeLog.RequestBegun(_logger, Id, _promptTokenCount, _maxTokenCount);
        long start = _clock.GetTimestamp(), first = start, last = start;
        int count = 0;
        Exception? failure = null;
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
                        failure = exception;
                        throw;
                    }

                    last = _clock.GetTimestamp();
                    first = count++ == 0 ? last : first;
                    yield return enumerator.Current;
                }
            }
        }
        finally
        {
            Record(count, start, first, last, failure);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Activity?.Dispose();

    private void Record(int count, long start, long first, long last, Exception? failure)
    {
        var tags = new TagList { { Telemetry.OperationTag, Telemetry.Operation }, { Telemetry.ProviderTag, Telemetry.Provider }, { Telemetry.ModelTag, _model } };
        if (failure is not null)
        {
            string? type = failure.GetType().FullName;
            tags.Add(Telemetry.ErrorTag, type);
            Activity?.SetTag(Telemetry.ErrorTag, type).SetStatus(ActivityStatusCode.Error, failure.Message);
        }

        if (failure is null or OperationCanceledException)
        {
            RuntimeLog.RequestEnded(_logger, Id, count);
        }
        else
        {
            RuntimeLog.RequestFailed(_logger, failure, Id, count);
        }

        Activity?.SetTag(Telemetry.OutputTokensTag, count);
        Telemetry.RequestHistogram.Record(_clock.GetElapsedTime(start).TotalSeconds, tags);
        if (count > 0)
        {
            Telemetry.TtftHistogram.Record(_clock.GetElapsedTime(start, first).TotalSeconds, tags);
        }

        if (count > 1)
        {
            Telemetry.TpotHistogram.Record(_clock.GetElapsedTime(first, last).TotalSeconds / (count - 1), tags);
        }
    }
}
