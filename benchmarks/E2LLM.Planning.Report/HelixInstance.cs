using System.Globalization;

namespace E2LLM.Planning.Report;

/// <summary>One of Helix's published placement instances (ASPLOS 2025): a node with k layers passes so many tokens per second, a link so many.</summary>
internal sealed class HelixInstance
{
    private HelixInstance(string name, int layers) => (Name, Layers) = (name, layers);

    public string Name { get; }

    public int Layers { get; }

    /// <summary>Machine type of each node.</summary>
    public List<string> Types { get; } = [];

    /// <summary>Tokens per second of each node with k layers; entry 0 unused.</summary>
    public List<double[]> Rates { get; } = [];

    /// <summary>Tokens per second from node to node; the last two indices are source and sink.</summary>
    public double[,] Links { get; private set; } = new double[0, 0];

    public int Source => Types.Count;

    public int Sink => Types.Count + 1;

    /// <summary>Sets of nodes between whose members links are as fast as the fastest.</summary>
    public int[] Regions()
    {
        var region = new int[Types.Count];
        Array.Fill(region, -1);
        double fastest = 0;
        for (int i = 0; i < Types.Count; i++)
        {
            for (int j = 0; j < Types.Count; j++)
            {
                fastest = Math.Max(fastest, Links[i, j]);
            }
        }

        int next = 0;
        for (int i = 0; i < Types.Count; i++)
        {
            if (region[i] < 0)
            {
                region[i] = next;
                for (int j = 0; j < Types.Count; j++)
                {
                    region[j] = Links[i, j] > fastest / 10 ? next : region[j];
                }

                next++;
            }
        }

        return region;
    }

    public static List<HelixInstance> Load(string folder)
    {
        var instances = new Dictionary<string, HelixInstance>();
        foreach (string[] row in Rows(Path.Combine(folder, "node_throughput.csv")))
        {
            if (!instances.TryGetValue(row[0], out HelixInstance? instance))
            {
                instances[row[0]] = instance = new HelixInstance(row[0], row[0].Contains("30b", StringComparison.Ordinal) ? 60 : 80);
            }

            int node = int.Parse(row[1], CultureInfo.InvariantCulture), k = int.Parse(row[3], CultureInfo.InvariantCulture);
            while (instance.Types.Count <= node)
            {
                instance.Types.Add(row[2]);
                instance.Rates.Add([0]);
            }

            instance.Types[node] = row[2];
            double[] rates = instance.Rates[node];
            Array.Resize(ref rates, Math.Max(rates.Length, k + 1));
            rates[k] = double.Parse(row[4], CultureInfo.InvariantCulture);
            instance.Rates[node] = rates;
        }

        foreach (HelixInstance instance in instances.Values)
        {
            instance.Links = new double[instance.Types.Count + 2, instance.Types.Count + 2];
        }

        foreach (string[] row in Rows(Path.Combine(folder, "link_capacity.csv")))
        {
            HelixInstance instance = instances[row[0]];
            instance.Links[instance.Index(row[1]), instance.Index(row[2])] = double.Parse(row[3], CultureInfo.InvariantCulture);
        }

        return [.. instances.Values];
    }

    private int Index(string node) => node switch { "source" => Source, "sink" => Sink, _ => int.Parse(node, CultureInfo.InvariantCulture) };

    private static IEnumerable<string[]> Rows(string path) => File.ReadLines(path).Skip(1).Where(line => line.Length > 0).Select(line => line.TrimEnd('\r').Split(','));
}
