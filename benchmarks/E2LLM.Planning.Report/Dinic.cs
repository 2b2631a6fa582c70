namespace E2LLM.Planning.Report;

/// <summary>Maximum flow by Dinic's algorithm (1970), with real capacities.</summary>
internal sealed class Dinic(int nodes)
{
    private readonly List<(int To, double Room)> _arcs = [];
    private readonly List<int>[] _outgoing = [.. Enumerable.Range(0, nodes).Select(_ => new List<int>())];
    private readonly int[] _level = new int[nodes];
    private readonly int[] _next = new int[nodes];

    public void Add(int from, int to, double capacity)
    {
        _outgoing[from].Add(_arcs.Count);
        _arcs.Add((to, capacity));
        _outgoing[to].Add(_arcs.Count);
        _arcs.Add((from, 0));
    }

    public double Run(int source, int sink)
    {
        double total = 0;
        while (Levels(source, sink))
        {
            Array.Clear(_next);
            for (double sent = Push(source, sink, double.PositiveInfinity); sent > 1e-9; sent = Push(source, sink, double.PositiveInfinity))
            {
                total += sent;
            }
        }

        return total;
    }

    private bool Levels(int source, int sink)
    {
        Array.Fill(_level, -1);
        _level[source] = 0;
        var queue = new Queue<int>([source]);
        while (queue.TryDequeue(out int node))
        {
            foreach (int arc in _outgoing[node])
            {
                if (_arcs[arc].Room > 1e-9 && _level[_arcs[arc].To] < 0)
                {
                    _level[_arcs[arc].To] = _level[node] + 1;
                    queue.Enqueue(_arcs[arc].To);
                }
            }
        }

        return _level[sink] >= 0;
    }

    private double Push(int node, int sink, double most)
    {
        if (node == sink)
        {
            return most;
        }

        for (; _next[node] < _outgoing[node].Count; _next[node]++)
        {
            int arc = _outgoing[node][_next[node]];
            (int to, double room) = _arcs[arc];
            if (room > 1e-9 && _level[to] == _level[node] + 1)
            {
                double sent = Push(to, sink, Math.Min(most, room));
                if (sent > 1e-9)
                {
                    _arcs[arc] = (to, room - sent);
                    _arcs[arc ^ 1] = (node, _arcs[arc ^ 1].Room + sent);
                    return sent;
                }
            }
        }

        return 0;
    }
}
