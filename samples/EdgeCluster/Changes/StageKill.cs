using System.Globalization;
using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Samples.EdgeCluster.Stages;

namespace E2LLM.Samples.EdgeCluster.Changes;

/// <summary>Carries a kill order out, and tells what came of it: who died, which requests that hit, how soon each went on, and where. Thread-safe.</summary>
internal sealed class StageKill(KillOrder order, Membership membership, StageFleet fleet, TextWriter output)
{
    private readonly Lock _gate = new();
    private readonly IReadOnlyList<string> _devices = order.DevicesIn(membership.Plan);
    private readonly Dictionary<DemoRequest, (int Tokens, int Recoveries)> _before = [];
    private readonly List<string> _told = [];
    private long _killedAt;
    private int _tokens;

    /// <summary>Whether it came to it.</summary>
    public bool HasHappened => _killedAt != 0;

    /// <summary>Device that stands still in the middle of a KV transfer, to be killed there; null: none.</summary>
    public static string? Freezing(KillOrder? order, DeploymentPlan plan) => order is { Token: null } ? order.DevicesIn(plan)[0] : null;

    /// <summary>Where the order is the middle of a KV transfer, waits for it and kills there.</summary>
    public async Task ArmAsync(CancellationToken ct)
    {
        if (order.Token is null)
        {
            await fleet[_devices[0]].WaitUntilFrozenAsync(ct);
            Kill("in the middle of a KV transfer");
        }
    }

    /// <summary>Counts a token of a request; before it is shown.</summary>
    public void OnToken(DemoRequest request, ServedRequest served, int count)
    {
        lock (_gate)
        {
            _tokens++;
            RequestReport report = served.Report;
            if (HasHappened && report.RecoveryCount > _before.GetValueOrDefault(request).Recoveries)
            {
                double seconds = TimeProvider.System.GetElapsedTime(_killedAt).TotalSeconds;
                _told.Add(Text($"  {request.Name}: went on with token {count} after {seconds * 1e3:F0} ms: {report.PrefillReplica} read its {request.PromptIds.Count + count - 1} tokens again, {report.DecodeReplica} goes on"));
            }

            _before[request] = (count, report.RecoveryCount);
            if (!HasHappened && _tokens == order.Token)
            {
                Kill(Text($"at token {_tokens}"));
            }
        }
    }

    /// <summary>Says what came of it.</summary>
    public void Report()
    {
        string names = string.Join(", ", _devices);
        if (!HasHappened)
        {
            output.WriteLine($"Nothing was killed: {names} did not come to it.");
            return;
        }

        output.WriteLine(_told.Count == 0 ? $"No request was at work on {names} then; later ones were served by others." : $"Requests that lost their replica went on {_told.Count} {(_told.Count == 1 ? "time" : "times")}:");
        _told.ForEach(output.WriteLine);
    }

    private void Kill(string moment)
    {
        lock (_gate)
        {
            _killedAt = TimeProvider.System.GetTimestamp();
            foreach (string device in _devices)
            {
                fleet[device].Kill();
                output.WriteLine(Text($"  KILLED {device} (process {fleet[device].Id}, {PlaceOf(device)}) {moment}."));
            }
        }
    }

    private string PlaceOf(string device)
    {
        ReplicaPlan? replica = membership.Plan.Replicas.FirstOrDefault(replica => replica.Stages.Any(stage => stage.Device == device));
        int index = replica?.Stages.ToList().FindIndex(stage => stage.Device == device) ?? 0;
        return replica is null ? "unused" : $"stage {index} of {replica.Stages.Count} of {replica.Name}, {replica.Role}";
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
