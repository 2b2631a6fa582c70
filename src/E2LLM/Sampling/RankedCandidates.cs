using System.Buffers;
using System.Numerics.Tensors;

namespace E2LLM.Sampling;

/// <summary>
/// Tokens by rank, the most likely first, equal ones by id, with <c>weight = exp((logit - largest) / temperature)</c>; ranked only as far as is asked for.
/// Those within a distance of the largest are put into a binary heap (Williams 1964, built bottom up after Floyd), the next ones when that is empty: of a
/// vocabulary of 150,000 a draw ranks a few hundred and does not touch most. Its buffers are the pool's until it is disposed.
/// </summary>
internal ref struct RankedCandidates : IDisposable
{
    // A level ends where weights are exp(-6), 1/400, of where it began; the last one takes all that is left.
    private const double LevelWidth = 6;
    private const int LevelCount = 8, BlockCount = 64;

    private readonly ReadOnlySpan<float> _logits;
    private readonly double _largest, _temperature;

    // Each key sorts as wanted: the order-preserving bits of the logit above, the complement of the id below.
    private readonly ulong[] _heap;
    private readonly int[] _ids;
    private readonly double[] _weights;
    private int _heapCount, _rankedCount, _level;
    private double _taken = double.PositiveInfinity;

    /// <param name="logits">One per id; none NaN.</param>
    /// <param name="largest">The largest of them.</param>
    /// <param name="temperature">Above 0.</param>
    public RankedCandidates(ReadOnlySpan<float> logits, double largest, double temperature)
    {
        _logits = logits;
        _largest = largest;
        _temperature = temperature;
        _heap = ArrayPool<ulong>.Shared.Rent(logits.Length);
        _ids = ArrayPool<int>.Shared.Rent(logits.Length);
        _weights = ArrayPool<double>.Shared.Rent(logits.Length);
    }

    /// <summary>The token of a rank whose weight was asked for.</summary>
    public readonly int Id(int rank) => _ids[rank];

    /// <summary>The weight of a rank; 1 for rank 0.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There are fewer logits.</exception>
    public double Weight(int rank)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(rank, _logits.Length);
        while (_rankedCount <= rank)
        {
            while (_heapCount == 0)
            {
                TakeLevel();
            }

            ulong key = _heap[0];
            _heapCount--;
            Sink(0, _heap[_heapCount]);
            int id = (int)~(uint)key;
            _ids[_rankedCount] = id;
            _weights[_rankedCount++] = Math.Exp((_logits[id] - _largest) / _temperature);
        }

        return _weights[rank];
    }

    public readonly void Dispose()
    {
        ArrayPool<ulong>.Shared.Return(_heap);
        ArrayPool<int>.Shared.Return(_ids);
        ArrayPool<double>.Shared.Return(_weights);
    }

    /// <summary>Makes a heap of the next tokens below those that were taken before.</summary>
    private void TakeLevel()
    {
        double least = ++_level < LevelCount ? _largest - (_level * LevelWidth * _temperature) : double.NegativeInfinity;
        for (int start = 0; start < _logits.Length; start += BlockCount)
        {
            int end = Math.Min(start + BlockCount, _logits.Length);
            if (TensorPrimitives.Max(_logits[start..end]) < least)
            {
                continue;
            }

            for (int id = start; id < end; id++)
            {
                if (_logits[id] >= least && _logits[id] < _taken)
                {
                    _heap[_heapCount++] = ((ulong)SortableBits(_logits[id]) << 32) | ~(uint)id;
                }
            }
        }

        _taken = least;
        for (int at = (_heapCount / 2) - 1; at >= 0; at--)
        {
            Sink(at, _heap[at]);
        }
    }

    /// <summary>Puts <paramref name="key"/> into a heap whose place <paramref name="at"/> is free, at it or below.</summary>
    private readonly void Sink(int at, ulong key)
    {
        for (int child = (2 * at) + 1; child < _heapCount; child = (2 * at) + 1)
        {
            if (child + 1 < _heapCount && _heap[child + 1] > _heap[child])
            {
                child++;
            }

            if (_heap[child] <= key)
            {
                break;
            }

            _heap[at] = _heap[child];
            at = child;
        }

        if (at < _heapCount)
        {
            _heap[at] = key;
        }
    }

    private static uint SortableBits(float value)
    {
        // Adding zero turns -0 into +0, so that equal logits have equal keys.
        uint bits = BitConverter.SingleToUInt32Bits(value + 0f);
        return (bits & 0x8000_0000u) != 0 ? ~bits : bits | 0x8000_0000u;
    }
}
