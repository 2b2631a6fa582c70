namespace E2LLM.Costs;

/// <summary>What a deployment has to serve: when requests come, how long they are, what is promised. Immutable; safe to share.</summary>
public sealed record Workload
{
    /// <summary>When requests come.</summary>
    public required ArrivalProcess Arrivals { get; init; }

    /// <summary>Tokens of a prompt.</summary>
    public required LengthDistribution PromptTokens { get; init; }

    /// <summary>Tokens generated for a prompt; drawn independently of the prompt's length.</summary>
    public required LengthDistribution OutputTokens { get; init; }

    /// <summary>What is promised; every part optional.</summary>
    public ServiceTargets Targets { get; init; } = new();

    /// <summary>Reads the JSON format of workloads.</summary>
    /// <param name="json">The description.</param>
    /// <param name="readFile">Gives the text of a file that the description names (<c>empirical</c>, <c>trace</c>); null: such kinds are rejected.</param>
    /// <exception cref="DescriptionFormatException">The text, or a file it names, is not what the format asks for.</exception>
    public static Workload Parse(string json, Func<string, string>? readFile = null) => WorkloadJson.Read(json, readFile);

    /// <summary>Reads a workload file; files that it names are looked for beside it.</summary>
    /// <exception cref="DescriptionFormatException">As <see cref="Parse"/>; also where a named file cannot be read.</exception>
    /// <exception cref="IOException">The file itself cannot be read.</exception>
    public static Workload Load(string path)
    {
        string folder = Path.GetDirectoryName(Path.GetFullPath(path)) ?? ".";
        return Parse(File.ReadAllText(path), name => File.ReadAllText(Path.Combine(folder, name)));
    }
}

/// <summary>What is promised to a request. Immutable; null: nothing is.</summary>
public sealed record ServiceTargets
{
    /// <summary>Seconds until the first token.</summary>
    public double? TtftSeconds { get; init; }

    /// <summary>Mean seconds per output token after the first.</summary>
    public double? TpotSeconds { get; init; }

    /// <summary>Share of requests that must meet the targets. Default 0.9.</summary>
    public double Attainment { get; init; } = 0.9;

    /// <summary>Least decode speed of each single request, tokens per second.</summary>
    public double? MinimumDecodeTokensPerSecond { get; init; }

    /// <summary>Longest decode cycle that both TPOT and minimum speed allow; positive infinity where neither is given.</summary>
    public double MaxDecodeCycleSeconds => Math.Min(
        TpotSeconds ?? double.PositiveInfinity, MinimumDecodeTokensPerSecond is { } speed ? 1 / speed : double.PositiveInfinity);
}
