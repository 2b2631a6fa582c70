using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Tool.CommandLine;

namespace E2LLM.Tool.Commands;

/// <summary>What became of a cluster since a plan was made. A name that fits neither the plan nor the cluster is wrong usage: planning on would move the wrong weights.</summary>
internal static class PlanChange
{
    /// <summary>The cluster as it is now: <paramref name="cluster"/> without lost devices, checked against the plan that runs.</summary>
    /// <param name="current">The plan that runs.</param>
    /// <param name="cluster">The description, which may still list lost devices.</param>
    /// <param name="lost">Devices that are gone.</param>
    /// <param name="added">Devices that the plan does not know.</param>
    /// <exception cref="UsageException">The names do not agree.</exception>
    public static Cluster Apply(DeploymentPlan current, Cluster cluster, IReadOnlyCollection<string> lost, IReadOnlyCollection<string> added)
    {
        var known = new HashSet<string>(current.UnusedDevices.Concat(current.Replicas.SelectMany(replica => replica.Stages.Select(stage => stage.Device))), StringComparer.Ordinal);
        foreach (string name in lost)
        {
            Require(known.Contains(name), $"--lost '{name}' is no device of the plan of --replan.");
        }

        foreach (string name in added)
        {
            Require(!lost.Contains(name), $"'{name}' cannot be both --lost and --added.");
            Require(!known.Contains(name), $"--added '{name}' is in the plan of --replan already.");
            Require(cluster.IndexOf(name) >= 0, $"--added '{name}' is not described in --cluster.");
        }

        foreach (DeviceProfile device in cluster.Devices)
        {
            Require(known.Contains(device.Name) || added.Contains(device.Name), $"'{device.Name}' of --cluster is not in the plan of --replan: say --added {device.Name}.");
        }

        foreach (string name in known)
        {
            Require(lost.Contains(name) || cluster.IndexOf(name) >= 0, $"'{name}' of the plan of --replan is not in --cluster: say --lost {name}.");
        }

        return cluster with
        {
            Devices = [.. cluster.Devices.Where(device => !lost.Contains(device.Name))],
            Ports = [.. cluster.Ports.Where(port => !lost.Contains(port.Device))],
            Pairs = [.. cluster.Pairs.Where(pair => !lost.Contains(pair.From) && !lost.Contains(pair.To))],
        };
    }

    private static void Require(bool holds, string otherwise)
    {
        if (!holds)
        {
            throw new UsageException(otherwise);
        }
    }
}
