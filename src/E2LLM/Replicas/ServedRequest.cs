using System.Diagnostics;
using System.Runtime.CompilerServices;
using E2LLM.Diagnostics;
using E2LLM.Sampling;

namespace E2LLM.Replicas;

/// <summary>
/// One request under way: enumerate it once for its token ids, as they are generated. Work begins with the enumeration and stops when it is left.
/// A slow consumer slows only its own request down.
/// </summary>
public sealed class ServedRequest : IAsyncEnumerable<int>
{
    private readonly Dispatcher _dispatcher;
    private readonly TimeProvider _clock;
    private readonly Lock _gate = new();
    private RequestReport _report;
    private long _startedAt;
    private long _firstAt;
    private int _enumerated;

    internal ServedRequest(Dispatcher dispatcher, ServingRequest request, TimeProvider clock)
    {
        _dispatcher = dispatcher;
        _clock = clock;
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
        using Activity? activity = Telemetry.Activities.StartActivity(Telemetry.RequestActivity);

        // Where nobody listens to this library's activities, those of other processes still join the caller's trace.
        TraceParent = (activity ?? Activity.Current) is { IdFormat: ActivityIdFormat.W3C } current ? current.Id : null;
        try
        {
            await foreach (TokenChoice token in RequestMetrics.Measure(_dispatcher.RunAsync(this, cancellationToken), _dispatcher.ModelName, _clock, cancellationToken).ConfigureAwait(false))
            {
                CountToken();
                yield return token;
            }
        }
        finally
        {
            Publish(activity);
        }
    }

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
    private void Publish(Activity? activity)
    {
        RequestReport report = Report;
        activity?.SetTag("prefill", report.PrefillReplica)
            .SetTag("decode", report.DecodeReplica)
            .SetTag("prompt_tokens", report.PromptTokenCount)
            .SetTag("output_tokens", report.OutputTokenCount)
            .SetTag("kv_bytes", report.KvTransferBytes)
            .SetTag("recoveries", report.RecoveryCount);
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
