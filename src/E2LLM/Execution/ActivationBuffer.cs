using E2LLM.Kernels.MatMul;
using E2LLM.Kernels.Quantization;
using E2LLM.Weights;

namespace E2LLM.Execution;

/// <summary>Rows of activations that matrices are multiplied with, in each form that any of these matrices wants. Owns its memory.</summary>
internal sealed unsafe class ActivationBuffer : IDisposable
{
    private readonly int _columns;
    private readonly AlignedBuffer _single;
    private readonly AlignedBuffer? _quants, _scales, _sums;
    private readonly AlignedBuffer? _quants256, _scales256, _sums256;

    internal ActivationBuffer(int maxTokenCount, int columns, IEnumerable<WeightMatrix?> users)
    {
        _columns = columns;
        long elements = (long)maxTokenCount * columns, blocks = (long)maxTokenCount * (columns / ActivationBlock.Elements);
        _single = new AlignedBuffer(elements * sizeof(float));
        if (users.Any(matrix => matrix?.Form == ActivationForm.Blocks32))
        {
            _quants = new AlignedBuffer(elements);
            _scales = new AlignedBuffer(blocks * sizeof(float));
            _sums = new AlignedBuffer(blocks * sizeof(int));
        }

        if (users.Any(matrix => matrix?.Form == ActivationForm.Blocks256))
        {
            _quants256 = new AlignedBuffer(elements);
            _scales256 = new AlignedBuffer(elements / 256 * sizeof(float));
            _sums256 = new AlignedBuffer(elements / 16 * sizeof(short));
        }
    }

    /// <summary>All rows in all forms.</summary>
    internal Activations All => new(
        _single.Floats,
        _quants is null ? default : new QuantizedActivations((sbyte*)_quants.Pointer, _scales!.Floats, (int*)_sums!.Pointer),
        _quants256 is null ? default : new SuperBlockActivations((sbyte*)_quants256.Pointer, _scales256!.Floats, (short*)_sums256!.Pointer));

    /// <summary>One row as floats: write it, then call <see cref="Complete"/>.</summary>
    internal float* Row(int token) => _single.Floats + ((nint)token * _columns);

    /// <summary>Derives the other forms of one row from its floats.</summary>
    internal void Complete(int token)
    {
        if (_quants is not null)
        {
            nint block = (nint)token * (_columns / ActivationBlock.Elements);
            QuantizeActivations.Run(
                Row(token), _columns, (sbyte*)_quants.Pointer + ((nint)token * _columns), _scales!.Floats + block, (int*)_sums!.Pointer + block);
        }

        if (_quants256 is not null)
        {
            SuperBlockActivations row = All.Blocks256.From(token, _columns);
            QuantizeActivations256.Run(Row(token), _columns, row.Quants, row.Scales, row.Sums);
        }
    }

    public void Dispose()
    {
        _single.Dispose();
        _quants?.Dispose();
        _scales?.Dispose();
        _sums?.Dispose();
        _quants256?.Dispose();
        _scales256?.Dispose();
        _sums256?.Dispose();
    }
}
