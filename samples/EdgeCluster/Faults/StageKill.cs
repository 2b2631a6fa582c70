using System.Globalization;
using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Samples.EdgeCluster.Stages;

namespace E2LLM.Samples.EdgeCluster.Faults;

/// <summary>Carries a kill order out, and tells what came of it: who died, which requests that hit, how soon each went on, and where. Thread-safe.</summary>
internal sealed class StageKill(KillOrder order, DeploymentPlan plan, StageFleet fleet, TextWriter output)
{
    private readonly Lock gate = new();
    private readonly string device = order.DeviceIn(plan);
    private readonly Dictionary<DemoRequest, (int Tokens, int Recoveries)> before = [];
    private readonly List<string> told = [];
    private long killedAt;
    private int tokens;

    private bool HasHappened => killedAt != 0;

    /// <summary>Asks the stage to stop in the middle of a KV transfer, where that is the order, and kills it there.</summary>
    public async Task ArmAsync(CancellationToken ct)
    {
        if (order.Token is null)
        {
            await fleet[device].WaitUntilFrozenAsync(ct);
            Kill("in the middle of a KV transfer");
        }
    }

    /// <summary>Counts a token of a request; before it is shown.</summary>
    public void OnToken(DemoRequest request, ServedRequest served, int count)
    {
        lock (gate)
        {
            tokens++;
            RequestReport report = served.Report;
            if (HasHappened && report.RecoveryCount > before.GetValueOrDefault(request).Recoveries)
            {
                double seconds = TimeProvider.System.GetElapsedTime(killedAt).TotalSeconds;
                told.Add(Text($"  {request.Name}: went on with token {count} after {seconds * 1e3:F0} ms: {report.PrefillReplica} read its {request.PromptIds.Count + count - 1} tokens again, {report.DecodeReplica} goes on"));
            }

            before[request] = (count, report.RecoveryCount);
            if (!HasHappened && tokens == order.Token)
            {
                Kill(Text($"at token {tokens}"));
            }
        }
    }

    /// <summary>Says what came of it.</summary>
    public void Report()
    {
        if (!HasHappened)
        {
            output.WriteLine($"Nothing was killed: {device} did not come to it.");
            return;
        }

        output.WriteLine(told.Count == 0 ? $"No request was at work on {device} then; later ones were served by others." : $"{told.Count} {(told.Count == 1 ? "request" : "requests")} lost {device} and went on:");
        told.ForEach(output.WriteLine);
    }

    private void Kill(string moment)
    {
        lock (gate)
        {
            killedAt = TimeProvider.System.GetTimestamp();
            int id = fleet[device].Kill();
            ReplicaPlan replica = plan.Replicas.First(replica => replica.Stages.Any(stage => stage.Device == device));
            int index = replica.Stages.ToList().FindIndex(stage => stage.Device == device);
            output.WriteLine(Text($"  KILLED {device} (process {id}, stage {index} of {replica.Stages.Count} of {replica.Name}, {replica.Role}) {moment}."));
            output.Flush();
        }
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
