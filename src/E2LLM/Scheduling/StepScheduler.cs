namespace E2LLM.Scheduling;

/// <summary>Positions of one sequence chosen for a step.</summary>
/// <param name="Sequence">The sequence.</param>
/// <param name="FirstPosition">First position.</param>
/// <param name="TokenCount">Positions.</param>
/// <param name="Samples">Whether the token after them is to be sampled: they reach the last known token.</param>
internal readonly record struct ScheduledItem(ScheduledSequence Sequence, int FirstPosition, int TokenCount, bool Samples);

/// <summary>
/// Continuous batching over a pipeline: sequences join and leave between steps, several steps are under way so that no stage waits for another.
/// Decoding sequences are spread over as many micro-batches as there are stages; prompts go in chunks, first come first served, behind the
/// decoding sequences of the same step. Every ready sequence is taken before one that was ready later, so none starves. Not thread-safe.
/// </summary>
internal sealed class StepScheduler
{
    /// <summary>A quarter of a step is kept for prompts where there are any.</summary>
    private const int PromptRoomDivisor = 4;

    private readonly int _stageCount;
    private readonly int _maxStepTokenCount;
    private readonly List<ScheduledSequence> _sequences = [];
    private long _clock;

    /// <summary>Makes an empty scheduler.</summary>
    /// <param name="stageCount">Stages of the pipeline, at least one.</param>
    /// <param name="maxStepTokenCount">Tokens in a step at most, at least one: the chunk of a prompt.</param>
    public StepScheduler(int stageCount, int maxStepTokenCount)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(stageCount, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxStepTokenCount, 1);
        _stageCount = stageCount;
        _maxStepTokenCount = maxStepTokenCount;
    }

    /// <summary>Steps handed out and not yet reported done.</summary>
    public int StepsInFlight { get; private set; }

    /// <summary>Sequences that take part.</summary>
    public int SequenceCount => _sequences.Count;

    /// <summary>Tokens known and not yet handed out, over all sequences.</summary>
    public long PendingTokenCount => _sequences.Sum(sequence => (long)sequence.PendingCount);

    /// <summary>Lets a sequence join from the next step on.</summary>
    public void Add(ScheduledSequence sequence)
    {
        sequence.ReadySince = _clock++;
        _sequences.Add(sequence);
    }

    /// <summary>Lets a sequence leave; steps under way keep it.</summary>
    public bool Remove(ScheduledSequence sequence) => _sequences.Remove(sequence);

    /// <summary>Tells that a sequence has a new token: it goes behind those that are ready already.</summary>
    public void Ready(ScheduledSequence sequence) => sequence.ReadySince = _clock++;

    /// <summary>Tells that a step has left the pipeline.</summary>
    public void StepDone() => StepsInFlight--;

    /// <summary>Chooses the next step.</summary>
    /// <param name="items">Cleared and filled with what goes into it.</param>
    /// <returns>False where nothing is ready or enough is under way.</returns>
    public bool TryNext(List<ScheduledItem> items)
    {
        items.Clear();

        // One more step than stages keeps the first stage's queue filled while prompts are read. A decode step waits for its turn instead:
        // sequences that become ready meanwhile may join it.
        if (StepsInFlight > _stageCount)
        {
            return false;
        }

        List<ScheduledSequence> prompts = Ready(decoding: false);
        int room = _maxStepTokenCount;
        if (StepsInFlight < _stageCount || prompts.Count > 0)
        {
            // A step that goes out for a prompt takes decoding sequences along, however many steps are under way: else a long prompt would hold them up.
            List<ScheduledSequence> decoders = Ready(decoding: true);
            foreach (ScheduledSequence sequence in decoders.Take(DecodeShare(decoders, prompts)))
            {
                items.Add(new ScheduledItem(sequence, sequence.Submit(1), 1, Samples: true));
                room--;
            }
        }

        foreach (ScheduledSequence sequence in prompts)
        {
            if (room == 0)
            {
                break;
            }

            int count = Math.Min(room, sequence.PendingCount);
            bool last = count == sequence.PendingCount;
            items.Add(new ScheduledItem(sequence, sequence.Submit(count), count, last));
            room -= count;
        }

        if (items.Count == 0)
        {
            return false;
        }

        StepsInFlight++;
        return true;
    }

    /// <summary>Decoding sequences for this step: their share of a stage, but never so many that prompts get no room at all.</summary>
    private int DecodeShare(List<ScheduledSequence> ready, List<ScheduledSequence> prompts)
    {
        int decoding = _sequences.Count(sequence => sequence.IsDecoding), room = _maxStepTokenCount;
        if (prompts.Count > 0 && ready.Count > 0)
        {
            room = room > 1 ? room - Math.Max(1, room / PromptRoomDivisor) : ready[0].ReadySince < prompts[0].ReadySince ? 1 : 0;
        }

        return Math.Min((decoding + _stageCount - 1) / _stageCount, room);
    }

    private List<ScheduledSequence> Ready(bool decoding) =>
        [.. _sequences.Where(sequence => sequence.PendingCount > 0 && !sequence.IsPaused && sequence.IsDecoding == decoding).OrderBy(sequence => sequence.ReadySince)];
}
