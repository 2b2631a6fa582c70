using E2LLM.Diagnostics;

namespace E2LLM.Replicas;

/// <summary>Where a request goes, at first and after a loss.</summary>
public sealed partial class Dispatcher
{
    /// <summary>Chooses replicas, and logs a request that none of them can hold.</summary>
    private Placement Place(ServedRequest served, List<int> known, int remaining, IReadOnlySet<string> suspects, Exception? loss)
    {
        try
        {
            Placement place = Placement.Choose(Replicas, _options, known, remaining, suspects, loss);
            RuntimeLog.RequestPlaced(_logger, served.Id, place.Prefill.Name, (place.Decode ?? place.Prefill).Name);
            return place;
        }
        catch (ArgumentOutOfRangeException error)
        {
            RuntimeLog.RequestRefused(_logger, served.Id, error.Message);
            throw;
        }
    }

    /// <summary>Remembers the device that a request could not go on for.</summary>
    private static void Suspect(HashSet<string> suspects, Exception error)
    {
        if (error is PeerLostException { Reason: not PeerLossReason.Replaced } lost)
        {
            suspects.Add(lost.Peer);
        }
        else if (error is SequenceFailedException failed)
        {
            suspects.Add(failed.Peer);
        }
    }

    private void LogRecovery(long request, Exception loss, int tokenCount, int recovery)
    {
        if (loss is SequenceFailedException)
        {
            RuntimeLog.RequestRetried(_logger, loss, request, tokenCount, recovery, _options.MaxRecoveryCount);
        }
        else
        {
            RuntimeLog.RecoveryBegun(_logger, loss, request, tokenCount, recovery, _options.MaxRecoveryCount);
        }
    }

    /// <summary>Waits for a new plan where nothing that is left can serve a sequence of so many tokens.</summary>
    private async ValueTask WaitForPlanAsync(int tokenCount, Exception? loss, CancellationToken cancellationToken)
    {
        if (_live is null || Replicas.Any(replica => replica.Admission.BlocksFor(tokenCount) <= replica.Admission.BlockCount))
        {
            return;
        }

        // Again where what a new plan brought was lost before this request had its turn.
        for (int i = 0; i <= _options.MaxRecoveryCount && (i == 0 || Replicas.Count == 0); i++)
        {
            await SettleAsync(cancellationToken).ConfigureAwait(false);
        }

        if (Replicas.Count == 0)
        {
            throw new NoReplicaException("this request", _live.Cause ?? loss);
        }
    }

    private bool CanRecover(Exception error, int attempt, CancellationToken cancellationToken) =>
        attempt < _options.MaxRecoveryCount && !_disposed && !cancellationToken.IsCancellationRequested
        && error is PeerLostException or SequenceFailedException { IsRetryable: true };
}
