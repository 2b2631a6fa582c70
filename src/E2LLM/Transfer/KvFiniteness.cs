using System.Numerics;
using System.Runtime.InteropServices;

namespace E2LLM.Transfer;

/// <summary>Looks for NaN and infinities in raw keys or values: an exponent whose bits are all ones. Stateless; thread-safe.</summary>
internal static class KvFiniteness
{
    /// <summary>Whether every element (for Q8_0 every scale) of <paramref name="raw"/> is a finite number.</summary>
    public static bool AllFinite(KvElementType type, ReadOnlySpan<byte> raw) => type switch
    {
        KvElementType.F32 => AllFinite(MemoryMarshal.Cast<byte, uint>(raw), 0x7F80_0000u),
        KvElementType.F16 => AllFinite(MemoryMarshal.Cast<byte, ushort>(raw), (ushort)0x7C00),
        KvElementType.BF16 => AllFinite(MemoryMarshal.Cast<byte, ushort>(raw), (ushort)0x7F80),
        KvElementType.Q8_0 => AllScalesFinite(raw),
        _ => false,
    };

    /// <summary>One comparison per vector: lanes whose exponent equals the mask are not finite.</summary>
    private static bool AllFinite<T>(ReadOnlySpan<T> values, T exponent)
        where T : unmanaged, IBinaryInteger<T>
    {
        var mask = new Vector<T>(exponent);
        int i = 0;
        for (; i <= values.Length - Vector<T>.Count; i += Vector<T>.Count)
        {
            if (Vector.EqualsAny(new Vector<T>(values[i..]) & mask, mask))
            {
                return false;
            }
        }

        for (; i < values.Length; i++)
        {
            if ((values[i] & exponent) == exponent)
            {
                return false;
            }
        }

        return true;
    }

    private static bool AllScalesFinite(ReadOnlySpan<byte> raw)
    {
        const int Block = 2 + 32;
        for (int i = 0; i + Block <= raw.Length; i += Block)
        {
            if ((raw[i + 1] & 0x7C) == 0x7C)
            {
                return false;
            }
        }

        return true;
    }
}
