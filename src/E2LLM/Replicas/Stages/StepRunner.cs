using System.Runtime.InteropServices;
using E2LLM.Replicas.Connections;
using E2LLM.Sampling;

namespace E2LLM.Replicas.Stages;

/// <summary>Runs a step through the executor and samples after it. Keeps its buffers between steps; used on the stage loop only.</summary>
internal sealed class StepRunner(IStageExecutor executor)
{
    private float[] _hidden = [];
    private float[] _rows = [];
    private float[] _logits = [];
    private StageSlice[] _slices = [];

    /// <summary>Embeds or copies the payload in, runs the layers.</summary>
    /// <returns>Hidden states after the stage's last layer, <c>[tokens, HiddenSize]</c>; valid until the next call.</returns>
    public ReadOnlySpan<float> Run(StepMessage step, StageSequence[] sequences, byte[] payload, CancellationToken cancellationToken)
    {
        int tokens = step.TokenCount, floats = checked(tokens * executor.Shape.HiddenSize);
        Span<float> hidden = Grow(ref _hidden, floats);
        if (executor.Role.HasEmbedding)
        {
            ReadOnlySpan<int> ids = MemoryMarshal.Cast<byte, int>(payload.AsSpan(0, tokens * sizeof(int)));
            foreach (int token in ids)
            {
                if ((uint)token >= (uint)executor.Shape.VocabularySize)
                {
                    throw new ArgumentException($"Token id {token} is not in the vocabulary of {executor.Shape.VocabularySize}.");
                }
            }

            executor.Embed(ids, hidden);
        }
        else
        {
            MemoryMarshal.Cast<byte, float>(payload.AsSpan(0, floats * sizeof(float))).CopyTo(hidden);
        }

        if (_slices.Length < sequences.Length)
        {
            _slices = new StageSlice[sequences.Length];
        }

        for (int i = 0; i < sequences.Length; i++)
        {
            _slices[i] = new StageSlice(sequences[i].Cache, step.Items[i].TokenCount);
        }

        executor.Forward(_slices.AsSpan(0, sequences.Length), hidden, cancellationToken);
        Array.Clear(_slices);
        return hidden;
    }

    /// <summary>Samples after the last token of every item that asks for it.</summary>
    public IEnumerable<(int Index, TokenChoice Token, string? Fault)> Sample(StepMessage step, StageSequence[] sequences)
    {
        int width = executor.Shape.HiddenSize, vocabulary = executor.Shape.VocabularySize;
        var sampled = new List<int>();
        int row = 0;
        Grow(ref _rows, step.Items.Count * width);
        for (int i = 0; i < step.Items.Count; i++)
        {
            row += step.Items[i].TokenCount;
            if (step.Items[i].Samples)
            {
                _hidden.AsSpan((row - 1) * width, width).CopyTo(_rows.AsSpan(sampled.Count * width));
                sampled.Add(i);
            }
        }

        if (sampled.Count == 0)
        {
            return [];
        }

        Grow(ref _logits, sampled.Count * vocabulary);
        executor.ComputeLogits(_rows.AsSpan(0, sampled.Count * width), _logits.AsSpan(0, sampled.Count * vocabulary));
        return sampled.Select((index, i) => SampleOne(index, step.Items[index], sequences[index], _logits.AsSpan(i * vocabulary, vocabulary))).ToList();
    }

    private static (int Index, TokenChoice Token, string? Fault) SampleOne(int index, StepItem item, StageSequence sequence, ReadOnlySpan<float> logits)
    {
        try
        {
            ReadOnlySpan<int> recent = sequence.Recent is null ? [] : sequence.Recent.Before(item);
            return (index, Sampler.Choose(logits, sequence.Open.Sampling, item.FirstPosition + item.TokenCount, recent), null);
        }
        catch (Exception error) when (error is ArithmeticException or ArgumentException or InvalidOperationException or FormatException)
        {
            return (index, default, error.Message);
        }
    }

    private static Span<float> Grow(ref float[] buffer, int length)
    {
        if (buffer.Length < length)
        {
            buffer = new float[length];
        }

        return buffer.AsSpan(0, length);
    }
}
