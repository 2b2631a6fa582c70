namespace E2LLM.Planning;

/// <summary>
/// Which devices can be planned together where not all are connected: a plan may pass KV caches between any two, so it is made for a set of devices that are all
/// connected to each other both ways. Stateless.
/// </summary>
internal static class Connectivity
{
    /// <summary>
    /// All devices where every pair is connected; otherwise cliques grown greedily from each device, those with the most memory first, by total memory.
    /// </summary>
    public static List<int[]> Cliques(PlanningProblem problem, int most)
    {
        int[] devices = problem.Devices;
        if (problem.LinksUniform && (devices.Length < 2 || problem.Network[devices[0], devices[1]] is not null))
        {
            return [devices];
        }

        int[] byMemory = [.. devices];
        Array.Sort(Array.ConvertAll(byMemory, device => -(double)problem.Cluster.Devices[device].MemoryBytes), byMemory);
        var cliques = new List<(double Memory, int[] Devices)>();
        var seen = new HashSet<string>();
        foreach (int start in byMemory.Take(256))
        {
            var clique = new List<int> { start };
            foreach (int other in byMemory)
            {
                if (other != start && clique.TrueForAll(item => problem.Network[item, other] is not null && problem.Network[other, item] is not null))
                {
                    clique.Add(other);
                }
            }

            clique.Sort();
            if (seen.Add(string.Join(',', clique)))
            {
                cliques.Add((clique.Sum(device => (double)problem.Cluster.Devices[device].MemoryBytes), [.. clique]));
            }
        }

        return [.. cliques.OrderByDescending(item => item.Memory).Take(most).Select(item => item.Devices)];
    }
}
