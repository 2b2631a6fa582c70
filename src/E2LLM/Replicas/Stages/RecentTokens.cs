using System.Runtime.InteropServices;
using E2LLM.Replicas.Connections;

namespace E2LLM.Replicas.Stages;

/// <summary>The latest tokens of a sequence at its last stage, for penalties: those known at its opening, then each token of its steps. Not thread-safe.</summary>
internal sealed class RecentTokens(SequenceOpenMessage open)
{
    private readonly List<int> _tokens = [.. open.RecentTokens];
    private int _knownCount = open.KnownTokenCount;

    /// <summary>The tokens before the position that a step samples, as many as the penalties look at.</summary>
    /// <exception cref="InvalidOperationException">A token between was never seen.</exception>
    public ReadOnlySpan<int> Before(in StepItem item)
    {
        int end = item.FirstPosition + item.TokenCount, window = open.Sampling.PenaltyWindow;
        if (end == _knownCount + 1)
        {
            if (_tokens.Count >= 2L * window)
            {
                _tokens.RemoveRange(0, _tokens.Count - window);
            }

            _tokens.Add(item.LastToken);
            _knownCount = end;
        }

        return end == _knownCount
            ? CollectionsMarshal.AsSpan(_tokens)
            : throw new InvalidOperationException($"Penalties for position {end} need all tokens before it; those before {_knownCount} are known.");
    }
}
