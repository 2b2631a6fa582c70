namespace E2LLM.Simulation.Engine;

/// <summary>Part of a prompt in one pass.</summary>
internal readonly record struct PromptSegment(RequestState Request, int From, int Tokens);

/// <summary>
/// One pass that circulates through the stages of a replica: its decoding sequences, and the prompt tokens that join it this time.
/// A replica of k stages keeps about k lanes in flight, so that every stage has work.
/// </summary>
internal sealed class Lane
{
    public readonly List<RequestState> Sequences = [];
    public readonly List<PromptSegment> Segments = [];

    /// <summary>Sequences in <see cref="Sequences"/> that take part in the pass under way (those that joined later do not).</summary>
    public bool InFlight;

    /// <summary>Stale completions carry an older one.</summary>
    public int Generation;

    /// <summary>Sum of the contexts of <see cref="Sequences"/>.</summary>
    public long ContextSum;

    public int SegmentTokens
    {
        get
        {
            int tokens = 0;
            foreach (PromptSegment segment in Segments)
            {
                tokens += segment.Tokens;
            }

            return tokens;
        }
    }
}
