using System.Diagnostics;
using System.Runtime.CompilerServices;
using E2LLM.Diagnostics;
using E2LLM.Sampling;
using Microsoft.Extensions.Logging;

namespace E2LLM.Replicas;

/// <summary>
/// One request under way: enumerate it once for its token ids, as they are generated. Work begins with the enumeration and stops when it is left.
/// A slow consumer slows only its own request down.
/// </summary>
public sealed class ServedRequest : IAsyncEnumerable<int>
{
    private readonly Dispatcher _dispatcher;
    private readonly TimeProvider _clock;
    private readonly ILogger _logger;
    private readonly Lock _gate = new();
    private RequestReport _report;
    private long _startedAt;
    private long _firstAt;
    private int _enumerated;

    internal ServedRequest(Dispatcher dispatcher, ServingRequest request, TimeProvider clock, ILogger logger)
    {
        _dispatcher = dispatcher;
        _clock = clock;
        _logger = logger;
        Request = request;
        _report = new RequestReport { PromptTokenCount = request.PromptIds.Count };
    }

    /// <summary>What was asked.</summary>
    public ServingRequest Request { get; }

    /// <summary>What it cost so far; complete once the enumeration has ended.</summary>
    public RequestReport Report
    {
        get
        {
            lock (_gate)
            {
                return _report;
            }
        }
    }

    /// <summary>Starts the request and yields its token ids.</summary>
    /// <param name="cancellationToken">Ends the request; the replicas forget it.</param>
    /// <exception cref="InvalidOperationException">It was enumerated before.</exception>
    /// <exception cref="NoReplicaException">No replica is left that could go on.</exception>
    /// <exception cref="PeerLostException">Devices were lost more often than may be recovered.</exception>
    /// <exception cref="ArgumentOutOfRangeException">Prompt and output together fit no replica.</exception>
    public async IAsyncEnumerator<int> GetAsyncEnumerator(CancellationToken cancellationToken = default)
    {
        await foreach (TokenChoice token in ChoicesAsync(cancellationToken).ConfigureAwait(false))
        {
            yield return token.Id;
        }
    }

    /// <summary>Starts the request and yields its tokens with the log-probabilities that <see cref="ServingRequest.Sampling"/> asks for.</summary>
    /// <inheritdoc cref="GetAsyncEnumerator"/>
    public async IAsyncEnumerable<TokenChoice> ChoicesAsync([EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        if (Interlocked.Exchange(ref _enumerated, 1) != 0)
        {
            throw new InvalidOperationException("A request is enumerated once; serve it again for another run.");
        }

        _startedAt = _clock.GetTimestamp();
        using var watch = new RequestWatch(_logger, _dispatcher.Model?.Shape.Name ?? "", ActivityKind.Client, Request.PromptIds.Count, Request.MaxTokenCount, _clock);
        Activity? activity = watch.Activity;
        Request.Sampling.Describe(activity);
        Id = watch.Id;

        // Where nobody listens to this library's activities, those of other processes still join the caller's trace.
        TraceParent = (activity ?? Activity.Current) is { IdFormat: ActivityIdFormat.W3C } current ? current.Id : null;
        int? last = null;
        try
        {
            await foreach (TokenChoice token in watch.Follow(_dispatcher.RunAsync(this, cancellationToken), cancellationToken).ConfigureAwait(false))
            {
                CountToken();
                last = token.Id;
                yield return token;
            }
        }
        finally
        {
            Publish(activity, last);
        }
    }

    /// <summary>Number of the request in this process's log; 0 before it began.</summary>
    internal long Id { get; private set; }

    /// <summary>Trace context that goes to the stages.</summary>
    internal string? TraceParent { get; private set; }

    internal void Update(Func<RequestReport, RequestReport> change)
    {
        lock (_gate)
        {
            _report = change(_report);
        }
    }

    /// <summary>Tells listeners what the request cost, once it has ended in whatever way.</summary>
    private void Publish(Activity? activity, int? last)
    {
        RequestReport report = Report;
        activity?.SetTag(Telemetry.PrefillReplicaTag, report.PrefillReplica)
            .SetTag(Telemetry.DecodeReplicaTag, report.DecodeReplica)
            .SetTag(Telemetry.CachedInputTokensTag, report.ReusedPromptTokenCount)
            .SetTag(Telemetry.KvTransferBytes, report.KvTransferBytes)
            .SetTag(Telemetry.Recoveries, report.RecoveryCount);
        if (last is { } id && Request.EndsAt?.Invoke(id) == true)
        {
            activity?.SetTag(Telemetry.FinishReasonsTag, Telemetry.Stopped);
        }
        else if (report.OutputTokenCount == Request.MaxTokenCount)
        {
            activity?.SetTag(Telemetry.FinishReasonsTag, Telemetry.Cut);
        }
    }

    private void CountToken()
    {
        long now = _clock.GetTimestamp();
        lock (_gate)
        {
            int count = _report.OutputTokenCount + 1;
            if (count == 1)
            {
                _firstAt = now;
            }

            _report = _report with
            {
                OutputTokenCount = count,
                TtftSeconds = _clock.GetElapsedTime(_startedAt, _firstAt).TotalSeconds,
                TpotSeconds = count > 1 ? _clock.GetElapsedTime(_firstAt, now).TotalSeconds / (count - 1) : double.NaN,
            };
        }
    }
}
