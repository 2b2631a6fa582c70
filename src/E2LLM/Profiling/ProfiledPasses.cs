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
    private readonly LayerRangeExecutor _executor;
    private readonly List<KvCache> _sequences = [];
    private readonly int[] _ids;
    private readonly float[] _input;
    private readonly float[] _hidden;
    private readonly float[] _logits;

    /// <param name="executor">Runs them; borrowed.</param>
    /// <param name="maxTokenCount">Most tokens of one pass.</param>
    public ProfiledPasses(LayerRangeExecutor executor, int maxTokenCount)
    {
        _executor = executor;
        int rows = Math.Max(maxTokenCount, ComputedTokenCount);
        _ids = new int[rows];
        for (int i = 0; i < rows; i++)
        {
            // Spread over the vocabulary (Knuth's multiplicative hash), so that embedding rows lie apart as those of a text do.
            _ids[i] = (int)(i * 2654435761L % executor.Shape.VocabularySize);
        }

        _input = new float[checked(rows * executor.Shape.HiddenSize)];
        _hidden = new float[_input.Length];
        _logits = new float[executor.Shape.VocabularySize];
        executor.Embed(_ids, _input);
    }

    /// <summary>Makes <paramref name="count"/> sequences of <paramref name="contextTokens"/> positions; others are given back.</summary>
    public void Fill(int count, int contextTokens, CancellationToken ct)
    {
        foreach (KvCache sequence in _sequences)
        {
            sequence.Dispose();
        }

        _sequences.Clear();
        for (int i = 0; i < count; i++)
        {
            ct.ThrowIfCancellationRequested();
            KvCache sequence = _executor.CreateSequence();
            _sequences.Add(sequence);
            Fill(sequence, contextTokens, ct);
        }
    }

    /// <summary>Back to the filled depth, with fresh input for <paramref name="tokenCount"/> tokens.</summary>
    public void Prepare(int contextTokens, int tokenCount)
    {
        foreach (KvCache sequence in _sequences)
        {
            sequence.Truncate(contextTokens);
        }

        int length = tokenCount * _executor.Shape.HiddenSize;
        _input.AsSpan(0, length).CopyTo(_hidden);
    }

    /// <summary>Runs the next <paramref name="tokenCount"/> tokens of every sequence through the layers.</summary>
    public void Forward(int tokenCount, CancellationToken ct)
    {
        var batch = new SequenceSlice[_sequences.Count];
        for (int i = 0; i < batch.Length; i++)
        {
            batch[i] = new SequenceSlice(_sequences[i], tokenCount);
        }

        _executor.Forward(batch, _hidden.AsSpan(0, batch.Length * tokenCount * _executor.Shape.HiddenSize), ct);
    }

    /// <summary>Embeds <paramref name="tokenCount"/> tokens.</summary>
    public void Embed(int tokenCount) => _executor.Embed(_ids.AsSpan(0, tokenCount), _hidden.AsSpan(0, tokenCount * _executor.Shape.HiddenSize));

    /// <summary>Final norm and head of one row.</summary>
    public void Head() => _executor.ComputeLogits(_input.AsSpan(0, _executor.Shape.HiddenSize), _logits);

    public void Dispose() => _sequences.ForEach(sequence => sequence.Dispose());

    private void Fill(KvCache sequence, int contextTokens, CancellationToken ct)
    {
        int computed = Math.Min(contextTokens, ComputedTokenCount);
        if (computed == 0)
        {
            return;
        }

        int length = computed * _executor.Shape.HiddenSize;
        _input.AsSpan(0, length).CopyTo(_hidden);
        _executor.Forward([new SequenceSlice(sequence, computed)], _hidden.AsSpan(0, length), ct);
        sequence.Reserve(contextTokens);
        byte[] kept = new byte[computed * _executor.KvPool.Layout.TokenBytes];
        for (int layer = _executor.Layers.Start; layer < _executor.Layers.End; layer++)
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
