namespace E2LLM.Planning.Report;

/// <summary>Maximum flow by Dinic's algorithm (1970), with real capacities.</summary>
internal sealed class Dinic(int nodes)
{
    private readonly List<(int To, double Room)> arcs = [];
    private readonly List<int>[] outgoing = [.. Enumerable.Range(0, nodes).Select(_ => new List<int>())];
    private readonly int[] level = new int[nodes];
    private readonly int[] next = new int[nodes];

    public void Add(int from, int to, double capacity)
    {
        outgoing[from].Add(arcs.Count);
        arcs.Add((to, capacity));
        outgoing[to].Add(arcs.Count);
        arcs.Add((from, 0));
    }

    public double Run(int source, int sink)
    {
        double total = 0;
        while (Levels(source, sink))
        {
            Array.Clear(next);
            for (double sent = Push(source, sink, double.PositiveInfinity); sent > 1e-9; sent = Push(source, sink, double.PositiveInfinity))
            {
                total += sent;
            }
        }

        return total;
    }

    private bool Levels(int source, int sink)
    {
        Array.Fill(level, -1);
        level[source] = 0;
        var queue = new Queue<int>([source]);
        while (queue.TryDequeue(out int node))
        {
            foreach (int arc in outgoing[node])
            {
                if (arcs[arc].Room > 1e-9 && level[arcs[arc].To] < 0)
                {
                    level[arcs[arc].To] = level[node] + 1;
                    queue.Enqueue(arcs[arc].To);
                }
            }
        }

        return level[sink] >= 0;
    }

    private double Push(int node, int sink, double most)
    {
        if (node == sink)
        {
            return most;
        }

        for (; next[node] < outgoing[node].Count; next[node]++)
        {
            int arc = outgoing[node][next[node]];
            (int to, double room) = arcs[arc];
            if (room > 1e-9 && level[to] == level[node] + 1)
            {
                double sent = Push(to, sink, Math.Min(most, room));
                if (sent > 1e-9)
                {
                    arcs[arc] = (to, room - sent);
                    arcs[arc ^ 1] = (node, arcs[arc ^ 1].Room + sent);
                    return sent;
                }
            }
        }

        return 0;
    }
}
