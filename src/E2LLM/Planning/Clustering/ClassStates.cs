using System.Numerics;

namespace E2LLM.Planning.Clustering;

/// <summary>
/// Multisets of devices as numbers: an index (mixed radix over the classes' sizes; differences of sets are differences of indices) and a packed form with a
/// guard bit per class, in which "is a subset of" is one subtraction. A cluster of distinct devices is the case of classes of one. Immutable.
/// </summary>
internal sealed class ClassStates
{
    private readonly int[] _sizes;
    private readonly int[] _shifts;
    private readonly int[] _strides;

    private ClassStates(int[] sizes, int[] shifts, int[] strides, int count, ulong guards)
    {
        _sizes = sizes;
        _shifts = shifts;
        _strides = strides;
        Count = count;
        Guards = guards;
        Packed = new ulong[count];
        int[] digits = new int[sizes.Length];
        for (int index = 0; index < count; index++)
        {
            for (int k = 0; k < sizes.Length; k++)
            {
                Packed[index] |= (ulong)digits[k] << shifts[k];
            }

            for (int k = 0; k < sizes.Length && ++digits[k] > sizes[k]; k++)
            {
                digits[k] = 0;
            }
        }
    }

    /// <summary>Number of multisets, the empty one included.</summary>
    public int Count { get; }

    public int ClassCount => _sizes.Length;

    /// <summary>The packed form of each index.</summary>
    public ulong[] Packed { get; }

    public ulong Guards { get; }

    /// <summary>Makes the states of classes of the given sizes, or null where there are more than <paramref name="most"/> or the packed form has no room.</summary>
    public static ClassStates? TryCreate(int[] sizes, int most)
    {
        var shifts = new int[sizes.Length];
        var strides = new int[sizes.Length];
        long count = 1;
        int bit = 0;
        ulong guards = 0;
        for (int k = 0; k < sizes.Length; k++)
        {
            int width = BitOperations.Log2((uint)sizes[k]) + 1;
            if (bit + width + 1 > 64)
            {
                return null;
            }

            shifts[k] = bit;
            strides[k] = (int)count;
            bit += width;
            guards |= 1UL << bit++;
            count *= sizes[k] + 1;
            if (count > most)
            {
                return null;
            }
        }

        return new ClassStates(sizes, shifts, strides, (int)count, guards);
    }

    /// <summary>Whether the packed set <paramref name="part"/> is contained in <paramref name="whole"/>.</summary>
    public bool Contains(ulong whole, ulong part) => (((whole | Guards) - part) & Guards) == Guards;

    public int Stride(int k) => _strides[k];

    public int CountOf(int index, int k) => index / _strides[k] % (_sizes[k] + 1);

    public void Counts(int index, Span<int> counts)
    {
        for (int k = 0; k < _sizes.Length; k++)
        {
            counts[k] = index % (_sizes[k] + 1);
            index /= _sizes[k] + 1;
        }
    }

    /// <summary>The first class that the non-empty set has a device of.</summary>
    public int Lowest(int index)
    {
        ulong packed = Packed[index];
        int bit = BitOperations.TrailingZeroCount(packed), k = 0;
        while (k + 1 < _shifts.Length && _shifts[k + 1] <= bit)
        {
            k++;
        }

        return k;
    }
}
