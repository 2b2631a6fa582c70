using System.Buffers;

namespace E2LLM.Sampling;

/// <summary>
/// Tokens by rank, the most likely first, equal ones by id, with <c>weight = exp((logit - largest) / temperature)</c>; ranked only as far as is asked for.
/// A binary heap (Williams 1964, built bottom up after Floyd) instead of a sort: of a vocabulary of 150,000 a draw looks at a few hundred. Not thread-safe.
/// </summary>
internal sealed class RankedCandidates : IDisposable
{
    // Each key sorts as wanted: the order-preserving bits of the logit above, the complement of the id below.
    private readonly ulong[] _keys;
    private readonly double[] _weights;
    private readonly int _count;
    private readonly double _largest, _temperature;
    private int _rankedCount;

    /// <param name="logits">One per id; none NaN.</param>
    /// <param name="largest">The largest of them.</param>
    /// <param name="temperature">Above 0.</param>
    public RankedCandidates(ReadOnlySpan<float> logits, double largest, double temperature)
    {
        _count = logits.Length;
        _largest = largest;
        _temperature = temperature;
        _keys = ArrayPool<ulong>.Shared.Rent(_count);
        _weights = ArrayPool<double>.Shared.Rent(_count);
        for (int id = 0; id < _count; id++)
        {
            _keys[id] = ((ulong)SortableBits(logits[id]) << 32) | ~(uint)id;
        }

        for (int at = (_count / 2) - 1; at >= 0; at--)
        {
            Sink(at, _count, _keys[at]);
        }
    }

    /// <summary>The token of a rank whose weight was asked for.</summary>
    public int Id(int rank) => (int)~(uint)_keys[_count - 1 - rank];

    /// <summary>The weight of a rank; 1 for rank 0.</summary>
    public double Weight(int rank)
    {
        while (_rankedCount <= rank)
        {
            // What leaves the heap is kept where the heap has shrunk, as in heap sort.
            int end = _count - 1 - _rankedCount;
            ulong last = _keys[end];
            _keys[end] = _keys[0];
            Sink(0, end, last);
            _weights[_rankedCount++] = WeightOf(_keys[end]);
        }

        return _weights[rank];
    }

    /// <summary>Of all tokens.</summary>
    public double SumOfWeights()
    {
        double sum = 0;
        for (int i = 0; i < _count; i++)
        {
            sum += WeightOf(_keys[i]);
        }

        return sum;
    }

    public void Dispose()
    {
        ArrayPool<ulong>.Shared.Return(_keys);
        ArrayPool<double>.Shared.Return(_weights);
    }

    private double WeightOf(ulong key) => Math.Exp((LogitOf(key) - _largest) / _temperature);

    /// <summary>Puts <paramref name="key"/> into a heap of <paramref name="count"/> whose place <paramref name="at"/> is free, at it or below.</summary>
    private void Sink(int at, int count, ulong key)
    {
        for (int child = (2 * at) + 1; child < count; child = (2 * at) + 1)
        {
            if (child + 1 < count && _keys[child + 1] > _keys[child])
            {
                child++;
            }

            if (_keys[child] <= key)
            {
                break;
            }

            _keys[at] = _keys[child];
            at = child;
        }

        if (at < count)
        {
            _keys[at] = key;
        }
    }

    private static uint SortableBits(float value)
    {
        // Adding zero turns -0 into +0, so that equal logits have equal keys.
        uint bits = BitConverter.SingleToUInt32Bits(value + 0f);
        return (bits & 0x8000_0000u) != 0 ? ~bits : bits | 0x8000_0000u;
    }

    private static double LogitOf(ulong key)
    {
        uint bits = (uint)(key >> 32);
        return BitConverter.UInt32BitsToSingle((bits & 0x8000_0000u) != 0 ? bits & 0x7FFF_FFFFu : ~bits);
    }
}
