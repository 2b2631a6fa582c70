using E2LLM.Sampling;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Stages;

/// <summary>
/// One attempt at a request: opens it on its replicas, delivers tokens, and closes it there whatever happens. Used by one caller at a time.
/// </summary>
internal sealed class RequestRun(ServedRequest served, IReadOnlyList<int> known, int remaining, Replica prefill, Replica? decode, int keptTokenCount) : IAsyncDisposable
{
    private readonly byte[] _tokenHash = KvTransferHeader.TokenHash([.. known]);
    private readonly int _promptCount = known.Count;
    private readonly int[] _prompt = [.. known];
    private ReplicaSequence? _prefilling;
    private ReplicaSequence? _decoding;
    private Replica? _source;
    private int _delivered;
    private int _claimedBlocks;
    private bool? _computesFirstLayer;
    private double _readingSeconds;
    private TokenChoice _first;

    /// <summary>Whether the prompt is read where the tokens are generated: nothing moves.</summary>
    private bool IsLocal => decode is null || ReferenceEquals(prefill, decode);

    /// <summary>Whether all stages on both sides know to move only what is missing.</summary>
    private bool MovesParts => prefill.MovesParts && decode!.MovesParts;

    /// <summary>Whether layer 0 of the prompt is computed where the tokens are generated, instead of moved. Decided once.</summary>
    private bool ComputesFirstLayer => _computesFirstLayer ??= MovesParts && (decode!.ComputesFirstLayer ?? decode.FirstLayer.Pays(prefill.Session, _promptCount, _promptCount - keptTokenCount));

    /// <summary>The next token, or null after the last.</summary>
    /// <exception cref="PeerLostException">A replica of this attempt is lost.</exception>
    /// <exception cref="SequenceFailedException">The sequence failed.</exception>
    public async ValueTask<TokenChoice?> NextAsync(CancellationToken cancellationToken)
    {
        try
        {
            return await AdvanceAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (PeerLostException lost) when (lost.StageIndex < 0 && StageOf(lost.Peer) >= 0)
        {
            throw lost.At(StageOf(lost.Peer));
        }
    }

    private async ValueTask<TokenChoice?> AdvanceAsync(CancellationToken cancellationToken)
    {
        if (_source is null)
        {
            return await FirstAsync(cancellationToken).ConfigureAwait(false);
        }

        if (_delivered == remaining)
        {
            return null;
        }

        if (!IsLocal && _delivered == 1)
        {
            if (served.Request.EndsAt?.Invoke(_first.Id) == true)
            {
                return null;
            }

            await MoveAsync(cancellationToken).ConfigureAwait(false);
        }

        ReplicaSequence sequence = _decoding ?? _prefilling!;
        if (!await sequence.Sampled.WaitToReadAsync(cancellationToken).ConfigureAwait(false) || !sequence.Sampled.TryRead(out TokenChoice token))
        {
            return null;
        }

        _source.Consumed(sequence);
        _delivered++;
        return token;
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        if (_claimedBlocks > 0)
        {
            prefill.Admission.Release(_claimedBlocks);
            _claimedBlocks = 0;
        }

        if (_prefilling is not null)
        {
            prefill.Close(_prefilling);
        }

        if (_decoding is not null)
        {
            decode!.Close(_decoding);
        }

        return ValueTask.CompletedTask;
    }

    /// <summary>
    /// Opens the request and waits until its prompt is through. Room on two replicas is claimed in one order by all requests: two that read for each other would
    /// wait in a circle otherwise, each holding what the other needs.
    /// </summary>
    private async Task<TokenChoice?> FirstAsync(CancellationToken cancellationToken)
    {
        served.Update(report => report with { PrefillReplica = prefill.Name, DecodeReplica = (decode ?? prefill).Name });
        SequenceStart start = IsLocal ? Start(remaining) with { CapacityTokenCount = _promptCount + remaining } : Start(1);
        if (!IsLocal && decode!.ClaimOrder.CompareTo(prefill.ClaimOrder) < 0)
        {
            await OpenDecodingAsync(cancellationToken).ConfigureAwait(false);
        }

        int newTokens = _promptCount - keptTokenCount;
        prefill.PrefillRate.Queued(newTokens);
        long begunAt = 0;
        bool completed = false;
        try
        {
            _claimedBlocks = await prefill.Admission.AcquireAsync(start.CapacityTokenCount, cancellationToken).ConfigureAwait(false);
            if (!IsLocal && _decoding is null)
            {
                await OpenDecodingAsync(cancellationToken).ConfigureAwait(false);
            }

            _prefilling = prefill.Open(IsLocal ? start : start with { Targets = decode!.TargetsFor(_decoding!), ComputesFirstLayer = ComputesFirstLayer }, _claimedBlocks);
            _claimedBlocks = 0;
            await _prefilling.Opened.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
            int reused = _prefilling.ReusedTokenCount;
            served.Update(report => report with { ReusedPromptTokenCount = reused });
            begunAt = prefill.PrefillRate.Begun();
            prefill.Start(_prefilling);
            await _prefilling.Sampled.WaitToReadAsync(cancellationToken).ConfigureAwait(false);
            completed = _prefilling.Sampled.TryRead(out _first);
            _readingSeconds = prefill.PrefillRate.SecondsSince(begunAt);
        }
        finally
        {
            prefill.PrefillRate.Done(newTokens, begunAt, completed);
        }

        prefill.Consumed(_prefilling!);
        _source = IsLocal ? prefill : decode;
        _delivered = 1;
        return _first;
    }

    /// <summary>Waits until the prompt's keys and values are with the replica that generates, and starts it.</summary>
    private async Task MoveAsync(CancellationToken cancellationToken)
    {
        // Whichever side fails first ends the wait: a lost sender would otherwise show only as keys and values that never come.
        await foreach (Task finished in Task.WhenEach(_decoding!.Applied.Task, _prefilling!.Sent.Task).WithCancellation(cancellationToken).ConfigureAwait(false))
        {
            await finished.ConfigureAwait(false);
        }

        served.Update(report => report with { KvTransferBytes = report.KvTransferBytes + _prefilling.SentBytes });
        LearnAboutFirstLayer(_prefilling, _decoding);
        prefill.Close(_prefilling);
        _prefilling = null;
        decode!.Start(_decoding, _first.Id);
    }

    /// <summary>What this prompt's way tells about the next one's.</summary>
    private void LearnAboutFirstLayer(ReplicaSequence sent, ReplicaSequence applied)
    {
        int layers = prefill.Plan.Stages[0].Layers.Intersect(decode!.Plan.Stages[0].Layers).Count, count = _promptCount - applied.HeldCounts[0];
        int moved = prefill.Plan.Stages[0].Layers.Count - (ComputesFirstLayer ? 1 : 0), read = Math.Max(1, _promptCount - sent.ReusedTokenCount);
        if (sent.FirstStageBytesPerSecond > 0 && moved > 0)
        {
            double tokenBytes = sent.FirstStageSentBytes / ((double)moved * count);
            decode.FirstLayer.Sent(prefill.Session, new FirstLayerChooser.Link(sent.FirstStageBytesPerSecond, tokenBytes, layers, _readingSeconds / read));
        }

        if (applied.FirstLayerSeconds > 0)
        {
            decode.FirstLayer.Computed(applied.FirstLayerSeconds / count);
        }
    }

    /// <summary>A loss seen from the other replica comes without the stage's number.</summary>
    private int StageOf(string peer) =>
        prefill.Plan.Stages.Concat(decode?.Plan.Stages ?? []).Where(stage => stage.Device == peer)
            .Select(stage => Math.Max(prefill.Plan.Stages.ToList().IndexOf(stage), decode?.Plan.Stages.ToList().IndexOf(stage) ?? -1)).FirstOrDefault(-1);

    private SequenceStart Start(int tokens) => new()
    {
        Prompt = _prompt,
        TokenHash = _tokenHash,
        Sampling = served.Request.Sampling,
        CapacityTokenCount = _promptCount,
        MaxNewTokenCount = tokens,
        EndsAt = served.Request.EndsAt,
        TraceParent = served.TraceParent,
    };

    /// <summary>
    /// Waits for room where the tokens are to be generated, and opens the request there. Before the prompt is read, and so before its replica hears of it: a prompt is read only when its keys and values have
    /// somewhere to go, and its stages are told what each target holds already.
    /// </summary>
    private async Task OpenDecodingAsync(CancellationToken cancellationToken)
    {
        SequenceStart start = Start(remaining - 1) with { Imports = true, CapacityTokenCount = _promptCount + remaining, AdoptsPages = MovesParts, ComputesFirstLayer = ComputesFirstLayer };
        _decoding = decode!.Open(start, await decode.Admission.AcquireAsync(start.CapacityTokenCount, cancellationToken).ConfigureAwait(false));
        await _decoding.Opened.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
    }
}
