using E2LLM.Replicas.Connections;

namespace E2LLM.Replicas.Stages;

/// <summary>
/// Keys and values of layer 0 computed where they are needed instead of moved: they depend on token and position alone. One norm and two products a token, about a thousandth of what reading the
/// prompt takes. Runs on the stage loop, in pieces between which steps of other sequences go on.
/// </summary>
internal static class FirstLayer
{
    /// <summary>Tokens of a piece: no more work than a small part of a step.</summary>
    public const int ChunkTokenCount = 32;

    /// <summary>Whether a stage computes its layer 0 for a sequence that imports.</summary>
    public static bool IsComputed(SequenceOpenMessage open, StageRole role) => open.Imports && open.ComputesFirstLayer && role.Layers.Contains(0);

    /// <summary>Why a stage that is to compute it cannot; null where it can or need not.</summary>
    public static string? Problem(SequenceOpenMessage open, StageRole role) => !IsComputed(open, role) || (role.HasEmbedding && open.PromptIds.Length == open.PromptTokenCount) ? null
        : $"Sequence {open.Sequence} is to compute layer 0 here: that needs the embedding and the ids of all {open.PromptTokenCount} positions; {open.PromptIds.Length} came.";

    /// <summary>Stores the next piece where the sequence asks for it, and has the loop do the rest; then the sequence may be complete.</summary>
    public static void Compute(StageSession session, IStageExecutor executor, StageSequence sequence, int from)
    {
        if (!sequence.AwaitsFirstLayer)
        {
            return;
        }

        SequenceOpenMessage open = sequence.Open;
        int count = Math.Min(ChunkTokenCount, open.PromptTokenCount - from);
        try
        {
            if (!session.Holds(sequence))
            {
                return;
            }

            TimeProvider clock = session.Host.Connections.TimeProvider;
            long start = clock.GetTimestamp();
            executor.StoreFirstLayer(sequence.Cache, from, open.PromptIds.AsSpan(from, count));
            sequence.FirstLayerSeconds += clock.GetElapsedTime(start).TotalSeconds;
        }
        catch (Exception error)
        {
            session.Evict(error.Message);
            return;
        }

        if (from + count < open.PromptTokenCount)
        {
            session.Host.Loop.Post(() => Compute(session, executor, sequence, from + count));
            return;
        }

        sequence.AwaitsFirstLayer = false;
        if (sequence.Import!.IsComplete)
        {
            session.Imported(sequence);
        }
    }
}
