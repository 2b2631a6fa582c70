using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using E2LLM.Deployment;

namespace E2LLM.Samples.EdgeCluster.Faults;

/// <summary>Which stage's process is to be killed, and when: <c>STAGE@TOKEN</c>.</summary>
/// <param name="Stage">A device of the plan, or <c>prefill</c> or <c>decode</c>: the first device of the fastest such replica.</param>
/// <param name="Token">Kill when this many tokens have come out of the cluster, of all requests together; null: in the middle of a KV transfer.</param>
internal sealed record KillOrder(string Stage, int? Token)
{
    public static bool TryParse(string text, [NotNullWhen(true)] out KillOrder? order)
    {
        order = null;
        int at = text.LastIndexOf('@');
        if (at <= 0)
        {
            return false;
        }

        string moment = text[(at + 1)..];
        if (moment == "kv")
        {
            order = new KillOrder(text[..at], null);
        }
        else if (int.TryParse(moment, NumberStyles.None, CultureInfo.InvariantCulture, out int token) && token > 0)
        {
            order = new KillOrder(text[..at], token);
        }

        return order is not null;
    }

    /// <summary>The device that is meant.</summary>
    /// <exception cref="ArgumentException">The plan has no such stage.</exception>
    public string DeviceIn(DeploymentPlan plan)
    {
        ReplicaPlan? fastest = Stage switch
        {
            "prefill" => plan.Replicas.Where(replica => replica.Role != ReplicaRole.Decode).MaxBy(replica => replica.PrefillTokensPerSecond),
            "decode" => plan.Replicas.Where(replica => replica.Role != ReplicaRole.Prefill).MaxBy(replica => replica.DecodeTokensPerSecond),
            _ => null,
        };
        string device = fastest?.Stages[0].Device ?? Stage;
        string[] devices = [.. plan.Replicas.SelectMany(replica => replica.Stages).Select(stage => stage.Device)];
        return devices.Contains(device)
            ? device
            : throw new ArgumentException($"no stage of the plan runs on '{Stage}'; stages: {string.Join(", ", devices)}.");
    }
}
