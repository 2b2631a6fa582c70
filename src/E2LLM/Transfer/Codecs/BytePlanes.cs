using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Transfer.Codecs;

/// <summary>
/// Takes elements of 2 or 4 bytes apart into planes, plane p holding byte p of every element, and puts them together: <c>planes[p][i] = elements[i * P + p]</c>. Copies, so exact on every
/// instruction set. Spans do not overlap. Stateless; thread-safe.
/// </summary>
internal static class BytePlanes
{
    /// <summary>One plane of some elements.</summary>
    /// <param name="elements">The elements' bytes, little-endian, <c>planeCount x plane.Length</c>.</param>
    /// <param name="planeCount">2 or 4.</param>
    /// <param name="index">Which plane.</param>
    /// <param name="plane">Takes a byte of each element.</param>
    public static void Extract(ReadOnlySpan<byte> elements, int planeCount, int index, Span<byte> plane)
    {
        int done = 0;
        if (BitConverter.IsLittleEndian && Vector256.IsHardwareAccelerated)
        {
            done = planeCount == sizeof(ushort)
                ? Extract(MemoryMarshal.Cast<byte, ushort>(elements), 8 * index, plane)
                : Extract(MemoryMarshal.Cast<byte, uint>(elements), 8 * index, plane);
        }

        for (int from = (done * planeCount) + index; done < plane.Length; done++, from += planeCount)
        {
            plane[done] = elements[from];
        }
    }

    /// <summary>Elements out of all their planes.</summary>
    /// <param name="planes">One plane after the other, as many bytes as <paramref name="elements"/>.</param>
    /// <param name="planeCount">2 or 4.</param>
    /// <param name="elements">Takes the elements' bytes, little-endian.</param>
    public static void Join(ReadOnlySpan<byte> planes, int planeCount, Span<byte> elements)
    {
        int count = elements.Length / planeCount, done = 0;
        if (BitConverter.IsLittleEndian && Vector256.IsHardwareAccelerated)
        {
            done = planeCount == sizeof(ushort)
                ? Join(planes, MemoryMarshal.Cast<byte, ushort>(elements))
                : Join(planes, MemoryMarshal.Cast<byte, uint>(elements));
        }

        for (; done < count; done++)
        {
            for (int p = 0; p < planeCount; p++)
            {
                elements[(done * planeCount) + p] = planes[(p * count) + done];
            }
        }
    }

    private static int Extract(ReadOnlySpan<ushort> elements, int shift, Span<byte> plane)
    {
        // 32 elements: the wanted byte moves to the lower half of its lane, and lanes are narrowed to that.
        int i = 0;
        for (ref ushort from = ref MemoryMarshal.GetReference(elements); i <= plane.Length - Vector256<byte>.Count; i += Vector256<byte>.Count)
        {
            Vector256<ushort> low = Byte(Vector256.LoadUnsafe(ref from, (nuint)i)), high = Byte(Vector256.LoadUnsafe(ref from, (nuint)(i + 16)));
            Vector256.Narrow(low, high).StoreUnsafe(ref MemoryMarshal.GetReference(plane), (nuint)i);
        }

        return i;

        Vector256<ushort> Byte(Vector256<ushort> lanes) => (lanes >>> shift) & Vector256.Create((ushort)byte.MaxValue);
    }

    private static int Extract(ReadOnlySpan<uint> elements, int shift, Span<byte> plane)
    {
        int i = 0;
        for (ref uint from = ref MemoryMarshal.GetReference(elements); i <= plane.Length - Vector256<byte>.Count; i += Vector256<byte>.Count)
        {
            Vector256<ushort> low = Vector256.Narrow(Byte(Vector256.LoadUnsafe(ref from, (nuint)i)), Byte(Vector256.LoadUnsafe(ref from, (nuint)(i + 8))));
            Vector256<ushort> high = Vector256.Narrow(Byte(Vector256.LoadUnsafe(ref from, (nuint)(i + 16))), Byte(Vector256.LoadUnsafe(ref from, (nuint)(i + 24))));
            Vector256.Narrow(low, high).StoreUnsafe(ref MemoryMarshal.GetReference(plane), (nuint)i);
        }

        return i;

        Vector256<uint> Byte(Vector256<uint> lanes) => (lanes >>> shift) & Vector256.Create((uint)byte.MaxValue);
    }

    private static int Join(ReadOnlySpan<byte> planes, Span<ushort> elements)
    {
        // 32 elements: bytes are widened to lanes, and the upper plane's moved up.
        ref byte first = ref MemoryMarshal.GetReference(planes);
        int i = 0, count = elements.Length;
        for (ref ushort to = ref MemoryMarshal.GetReference(elements); i <= count - Vector256<byte>.Count; i += Vector256<byte>.Count)
        {
            Vector256<byte> low = Vector256.LoadUnsafe(ref first, (nuint)i), high = Vector256.LoadUnsafe(ref first, (nuint)(count + i));
            (Vector256.WidenLower(low) | (Vector256.WidenLower(high) << 8)).StoreUnsafe(ref to, (nuint)i);
            (Vector256.WidenUpper(low) | (Vector256.WidenUpper(high) << 8)).StoreUnsafe(ref to, (nuint)(i + 16));
        }

        return i;
    }

    private static int Join(ReadOnlySpan<byte> planes, Span<uint> elements)
    {
        ref byte first = ref MemoryMarshal.GetReference(planes);
        int i = 0, count = elements.Length;
        for (ref uint to = ref MemoryMarshal.GetReference(elements); i <= count - Vector128<byte>.Count; i += Vector128<byte>.Count)
        {
            // 16 elements: two planes each make 16 halves, two halves an element.
            Vector256<ushort> low = Halves(ref first, i, count + i), high = Halves(ref first, (2 * count) + i, (3 * count) + i);
            (Vector256.WidenLower(low) | (Vector256.WidenLower(high) << 16)).StoreUnsafe(ref to, (nuint)i);
            (Vector256.WidenUpper(low) | (Vector256.WidenUpper(high) << 16)).StoreUnsafe(ref to, (nuint)(i + 8));
        }

        return i;

        static Vector256<ushort> Halves(ref byte first, int low, int high) =>
            Widen(Vector128.LoadUnsafe(ref first, (nuint)low)) | (Widen(Vector128.LoadUnsafe(ref first, (nuint)high)) << 8);

        static Vector256<ushort> Widen(Vector128<byte> bytes) => Vector256.WidenLower(bytes.ToVector256Unsafe());
    }
}
