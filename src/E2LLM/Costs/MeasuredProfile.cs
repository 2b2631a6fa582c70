namespace E2LLM.Costs;

/// <summary>One measured prefill time. Immutable.</summary>
/// <param name="ChunkTokens">Prompt tokens in the chunk.</param>
/// <param name="ContextTokens">Tokens that were in the cache before it.</param>
/// <param name="SecondsPerLayer">Seconds that one layer took for the chunk.</param>
public readonly record struct PrefillPoint(int ChunkTokens, int ContextTokens, double SecondsPerLayer);

/// <summary>One measured decode time. Immutable.</summary>
/// <param name="Batch">Sequences in the step.</param>
/// <param name="ContextTokens">Tokens in the cache of each.</param>
/// <param name="SecondsPerLayer">Seconds that one layer took for the step.</param>
public readonly record struct DecodePoint(int Batch, int ContextTokens, double SecondsPerLayer);

/// <summary>
/// What a device was measured to need for the layers of one model; it takes the place of the roofline of the two speeds.
/// Immutable. Between points the time is linear in tokens (or batch) and in context; past the last point it continues with the last slope
/// (proportionally where there is one point), below the first it stays at the first: a small chunk still reads all weights.
/// </summary>
public sealed record MeasuredProfile
{
    // Points whose copy for one look-up needs no memory of the heap: a simulation looks up with every pass.
    private const int MostOnStack = 64;

    /// <summary>Which model and tensor type were measured; free text, compared with <see cref="ModelCost.Name"/> for a warning only.</summary>
    public string ModelIdentity { get; init; } = "";

    /// <summary>Relative error of the times, 0.05 for 5 percent. Default 0.</summary>
    public double ErrorFraction { get; init; }

    /// <summary>Measured prefill times, at least one.</summary>
    public required IReadOnlyList<PrefillPoint> Prefill { get; init; }

    /// <summary>Measured decode times, at least one.</summary>
    public required IReadOnlyList<DecodePoint> Decode { get; init; }

    /// <summary>Seconds of final norm and head for one step.</summary>
    public double HeadSeconds { get; init; }

    /// <summary>Seconds of the token embedding of the largest chunk of <see cref="Prefill"/>; other numbers of tokens take their share.</summary>
    public double EmbeddingSeconds { get; init; }

    /// <summary>Tokens that <see cref="EmbeddingSeconds"/> are for.</summary>
    internal int LargestChunkTokens
    {
        get
        {
            int largest = 1;
            for (int i = 0; i < Prefill.Count; i++)
            {
                largest = Math.Max(largest, Prefill[i].ChunkTokens);
            }

            return largest;
        }
    }

    /// <summary>Seconds of one layer for a chunk of <paramref name="chunkTokens"/> after <paramref name="contextTokens"/> cached tokens.</summary>
    public double PrefillSeconds(double chunkTokens, double contextTokens)
    {
        Span<(double Context, double Size, double Seconds)> points = Prefill.Count <= MostOnStack ? stackalloc (double, double, double)[Prefill.Count] : new (double, double, double)[Prefill.Count];
        for (int i = 0; i < points.Length; i++)
        {
            points[i] = (Prefill[i].ContextTokens, Prefill[i].ChunkTokens, Prefill[i].SecondsPerLayer);
        }

        return Interpolate(points, contextTokens, chunkTokens);
    }

    /// <summary>Seconds of one layer for a step of <paramref name="batch"/> sequences with <paramref name="contextTokens"/> cached tokens each.</summary>
    public double DecodeSeconds(double batch, double contextTokens)
    {
        Span<(double Context, double Size, double Seconds)> points = Decode.Count <= MostOnStack ? stackalloc (double, double, double)[Decode.Count] : new (double, double, double)[Decode.Count];
        for (int i = 0; i < points.Length; i++)
        {
            points[i] = (Decode[i].ContextTokens, Decode[i].Batch, Decode[i].SecondsPerLayer);
        }

        return Interpolate(points, contextTokens, batch);
    }

    // Piecewise linear in size for each measured context, then piecewise linear in context. The points need not form a grid.
    private static double Interpolate(Span<(double Context, double Size, double Seconds)> points, double context, double size)
    {
        points.Sort(static (x, y) => x.Context != y.Context ? x.Context.CompareTo(y.Context) : x.Size.CompareTo(y.Size));
        double previousContext = double.NaN, previousValue = 0, olderContext = double.NaN, olderValue = 0;
        for (int start = 0; start < points.Length;)
        {
            int end = start;
            while (end < points.Length && points[end].Context == points[start].Context)
            {
                end++;
            }

            double value = AlongSize(points[start..end], size), here = points[start].Context;
            if (here >= context)
            {
                // Below the first measured context the first stays; otherwise between the two neighbours.
                return double.IsNaN(previousContext) ? value : Line(previousContext, previousValue, here, value, context);
            }

            (olderContext, olderValue) = (previousContext, previousValue);
            (previousContext, previousValue) = (here, value);
            start = end;
        }

        double last = double.IsNaN(olderContext) ? previousValue : Line(olderContext, olderValue, previousContext, previousValue, context);
        return Math.Max(last, previousValue);
    }

    private static double AlongSize(Span<(double Context, double Size, double Seconds)> points, double size)
    {
        int last = points.Length - 1;
        if (size <= points[0].Size)
        {
            return points[0].Seconds;
        }

        for (int i = 1; i <= last; i++)
        {
            if (size <= points[i].Size)
            {
                return Line(points[i - 1].Size, points[i - 1].Seconds, points[i].Size, points[i].Seconds, size);
            }
        }

        double beyond = last == 0
            ? points[0].Seconds * size / points[0].Size
            : Line(points[last - 1].Size, points[last - 1].Seconds, points[last].Size, points[last].Seconds, size);
        return Math.Max(beyond, points[last].Seconds);
    }

    private static double Line(double x0, double y0, double x1, double y1, double x) =>
        x1 == x0 ? Math.Max(y0, y1) : y0 + ((y1 - y0) * ((x - x0) / (x1 - x0)));
}
