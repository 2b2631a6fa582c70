using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using E2LLM.Deployment;

namespace E2LLM.Samples.EdgeCluster.Changes;

/// <summary>Which processes are to be killed, and when: <c>STAGE@TOKEN</c>.</summary>
/// <param name="Stage">
/// A device of the plan; <c>prefill</c> or <c>decode</c>: the first device of the fastest such replica; <c>every-prefill</c>, <c>every-decode</c> or <c>every</c>: that of each.
/// </param>
/// <param name="Token">Kill when this many tokens have come out of the cluster, of all requests together; null: in the middle of a KV transfer.</param>
internal sealed record KillOrder(string Stage, int? Token)
{
    private const string Every = "every";

    public static bool TryParse(string text, [NotNullWhen(true)] out KillOrder? order)
    {
        order = null;
        int at = text.LastIndexOf('@');
        if (at <= 0)
        {
            return false;
        }

        string stage = text[..at], moment = text[(at + 1)..];
        if (moment == "kv")
        {
            order = stage.StartsWith(Every, StringComparison.Ordinal) ? null : new KillOrder(stage, null);
        }
        else if (int.TryParse(moment, NumberStyles.None, CultureInfo.InvariantCulture, out int token) && token > 0)
        {
            order = new KillOrder(stage, token);
        }

        return order is not null;
    }

    /// <summary>The devices that are meant.</summary>
    /// <exception cref="ArgumentException">The plan has no such stage.</exception>
    public IReadOnlyList<string> DevicesIn(DeploymentPlan plan)
    {
        ReplicaPlan[] prefill = [.. plan.Replicas.Where(replica => replica.Role != ReplicaRole.Decode).OrderByDescending(replica => replica.PrefillTokensPerSecond)];
        ReplicaPlan[] decode = [.. plan.Replicas.Where(replica => replica.Role != ReplicaRole.Prefill).OrderByDescending(replica => replica.DecodeTokensPerSecond)];
        string[] devices = [.. plan.Replicas.SelectMany(replica => replica.Stages).Select(stage => stage.Device)];
        return Stage switch
        {
            "prefill" => First(prefill[..1]),
            "decode" => First(decode[..1]),
            Every + "-prefill" => First(prefill),
            Every + "-decode" => First(decode),
            Every => First(plan.Replicas),
            _ when devices.Contains(Stage) => [Stage],
            _ => throw new ArgumentException($"no stage of the plan runs on '{Stage}'; stages: {string.Join(", ", devices)}."),
        };

        static string[] First(IEnumerable<ReplicaPlan> replicas) => [.. replicas.Select(replica => replica.Stages[0].Device)];
    }
}
