using System.Globalization;

namespace E2LLM.Simulation.SplitwiseSim;

/// <summary>
/// Iteration times as splitwise-sim reads them from its profile table: the median over all measurements with the same batch tokens
/// (prompt size times batch size), linear between them and beyond both ends. Immutable.
/// </summary>
internal sealed class SplitwiseProfile
{
    private readonly double[] _tokens, _promptSeconds, _tokenSeconds;

    private SplitwiseProfile(double[] tokens, double[] promptSeconds, double[] tokenSeconds)
    {
        _tokens = tokens;
        _promptSeconds = promptSeconds;
        _tokenSeconds = tokenSeconds;
    }

    /// <summary>Reads the rows of one model on one machine from <c>perf_model.csv</c>.</summary>
    /// <exception cref="FormatException">The table has no such rows, or a field is not a number.</exception>
    public static SplitwiseProfile Read(TextReader table, string model, string hardware, int tensorParallel)
    {
        string[] header = (table.ReadLine() ?? throw new FormatException("The profile table is empty.")).Split(',');
        int At(string name) => Array.IndexOf(header, name) is var i and >= 0 ? i : throw new FormatException($"The profile table has no column {name}.");
        int modelAt = At("model"), hardwareAt = At("hardware"), parallelAt = At("tensor_parallel");
        int promptAt = At("prompt_size"), batchAt = At("batch_size"), promptTimeAt = At("prompt_time"), tokenTimeAt = At("token_time");
        var groups = new SortedDictionary<long, (List<double> Prompt, List<double> Token)>();
        while (table.ReadLine() is { } line)
        {
            string[] cells = line.Split(',');
            double Number(int at) => double.Parse(cells[at], CultureInfo.InvariantCulture);
            if (cells.Length < header.Length || cells[modelAt] != model || cells[hardwareAt] != hardware || Number(parallelAt) != tensorParallel)
            {
                continue;
            }

            long tokens = (long)(Number(promptAt) * Number(batchAt));
            if (!groups.TryGetValue(tokens, out (List<double> Prompt, List<double> Token) group))
            {
                groups[tokens] = group = ([], []);
            }

            group.Prompt.Add(Number(promptTimeAt) / 1000);
            group.Token.Add(Number(tokenTimeAt) / 1000);
        }

        return groups.Count >= 2
            ? new SplitwiseProfile(
                [.. groups.Keys.Select(k => (double)k)],
                [.. groups.Values.Select(g => Median(g.Prompt))],
                [.. groups.Values.Select(g => Median(g.Token))])
            : throw new FormatException($"The profile table has no rows for {model} on {hardware} with tensor parallelism {tensorParallel}.");
    }

    /// <summary>Seconds of one iteration.</summary>
    /// <param name="promptTaskCount">Prompt tasks in the batch.</param>
    /// <param name="tokenTaskCount">Token tasks in the batch.</param>
    /// <param name="batchTokens">Prompt tokens plus one for each token task.</param>
    public double IterationSeconds(int promptTaskCount, int tokenTaskCount, int batchTokens) => (promptTaskCount, tokenTaskCount) switch
    {
        (_, 0) => Interpolate(_promptSeconds, batchTokens),
        (0, _) => Interpolate(_tokenSeconds, batchTokens),

        // Prompts and tokens in one batch are charged a tenth more than the prompts alone.
        _ => Interpolate(_promptSeconds, batchTokens) * 1.1,
    };

    private static double Median(List<double> values)
    {
        values.Sort();
        int middle = values.Count / 2;
        return values.Count % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    }

    private double Interpolate(double[] seconds, double tokens)
    {
        int high = 1;
        while (high < _tokens.Length - 1 && _tokens[high] < tokens)
        {
            high++;
        }

        double slope = (seconds[high] - seconds[high - 1]) / (_tokens[high] - _tokens[high - 1]);
        return (slope * (tokens - _tokens[high - 1])) + seconds[high - 1];
    }
}
