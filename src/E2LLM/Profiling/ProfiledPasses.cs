using E2LLM.Execution;
using E2LLM.KvCaching;

namespace E2LLM.Profiling;

/// <summary>
/// The passes that are timed: sequences filled to a depth, and inputs that are the same for every repetition. Owns its sequences. Not thread-safe.
/// </summary>
internal sealed class ProfiledPasses : IDisposable
{
    // Positions that are computed; deeper ones are copies of them. Time depends on how many there are, not on what they hold.
    private const int ComputedTokenCount = 64;
    private readonly LayerRangeExecutor executor;
    private readonly List<KvCache> sequences = [];
    private readonly int[] ids;
    private readonly float[] input;
    private readonly float[] hidden;
    private readonly float[] logits;

    /// <param name="executor">Runs them; borrowed.</param>
    /// <param name="maxTokenCount">Most tokens of one pass.</param>
    public ProfiledPasses(LayerRangeExecutor executor, int maxTokenCount)
    {
        this.executor = executor;
        int rows = Math.Max(maxTokenCount, ComputedTokenCount);
        ids = new int[rows];
        for (int i = 0; i < rows; i++)
        {
            // Spread over the vocabulary (Knuth's multiplicative hash), so that embedding rows lie apart as those of a text do.
            ids[i] = (int)(i * 2654435761L % executor.Shape.VocabularySize);
        }

        input = new float[checked(rows * executor.Shape.HiddenSize)];
        hidden = new float[input.Length];
        logits = new float[executor.Shape.VocabularySize];
        executor.Embed(ids, input);
    }

    /// <summary>Makes <paramref name="count"/> sequences of <paramref name="contextTokens"/> positions; others are given back.</summary>
    public void Fill(int count, int contextTokens, CancellationToken ct)
    {
        foreach (KvCache sequence in sequences)
        {
            sequence.Dispose();
        }

        sequences.Clear();
        for (int i = 0; i < count; i++)
        {
            ct.ThrowIfCancellationRequested();
            KvCache sequence = executor.CreateSequence();
            sequences.Add(sequence);
            Fill(sequence, contextTokens, ct);
        }
    }

    /// <summary>Back to the filled depth, with fresh input for <paramref name="tokenCount"/> tokens.</summary>
    public void Prepare(int contextTokens, int tokenCount)
    {
        foreach (KvCache sequence in sequences)
        {
            sequence.Truncate(contextTokens);
        }

        int length = tokenCount * executor.Shape.HiddenSize;
        input.AsSpan(0, length).CopyTo(hidden);
    }

    /// <summary>Runs the next <paramref name="tokenCount"/> tokens of every sequence through the layers.</summary>
    public void Forward(int tokenCount, CancellationToken ct)
    {
        var batch = new SequenceSlice[sequences.Count];
        for (int i = 0; i < batch.Length; i++)
        {
            batch[i] = new SequenceSlice(sequences[i], tokenCount);
        }

        executor.Forward(batch, hidden.AsSpan(0, batch.Length * tokenCount * executor.Shape.HiddenSize), ct);
    }

    /// <summary>Embeds <paramref name="tokenCount"/> tokens.</summary>
    public void Embed(int tokenCount) => executor.Embed(ids.AsSpan(0, tokenCount), hidden.AsSpan(0, tokenCount * executor.Shape.HiddenSize));

    /// <summary>Final norm and head of one row.</summary>
    public void Head() => executor.ComputeLogits(input.AsSpan(0, executor.Shape.HiddenSize), logits);

    public void Dispose() => sequences.ForEach(sequence => sequence.Dispose());

    private void Fill(KvCache sequence, int contextTokens, CancellationToken ct)
    {
        int computed = Math.Min(contextTokens, ComputedTokenCount);
        if (computed == 0)
        {
            return;
        }

        int length = computed * executor.Shape.HiddenSize;
        input.AsSpan(0, length).CopyTo(hidden);
        executor.Forward([new SequenceSlice(sequence, computed)], hidden.AsSpan(0, length), ct);
        sequence.Reserve(contextTokens);
        byte[] kept = new byte[computed * executor.KvPool.Layout.TokenBytes];
        for (int layer = executor.Layers.Start; layer < executor.Layers.End; layer++)
        {
            sequence.ReadKeys(layer, 0, computed, kept);
            Repeat(kept, computed, contextTokens, (first, count, bytes) => sequence.WriteKeys(layer, first, count, bytes));
            sequence.ReadValues(layer, 0, computed, kept);
            Repeat(kept, computed, contextTokens, (first, count, bytes) => sequence.WriteValues(layer, first, count, bytes));
        }

        sequence.Extend(contextTokens);
    }

    private static void Repeat(byte[] kept, int computed, int contextTokens, Action<int, int, byte[]> write)
    {
        int tokenBytes = kept.Length / computed;
        for (int first = computed; first < contextTokens; first += computed)
        {
            int count = Math.Min(computed, contextTokens - first);
            write(first, count, count == computed ? kept : kept[..(count * tokenBytes)]);
        }
    }
}
