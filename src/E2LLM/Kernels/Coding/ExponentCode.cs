using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.Coding;

/// <summary>
/// Twelve bits for a bfloat16: <c>x[i] = sign, exponent, mantissa -> byte(sign, mantissa), nibble(exponent - window + 1)</c>, exactly. Neighbouring keys or
/// values use few exponents; those outside a window of 15 that is chosen for each block are listed behind it.
/// </summary>
/// <remarks>
/// Block of n elements (1 to 4,096), h = ceil(n / 2): u8 window, u8 zero, u16 count of escapes; h bytes, byte i holding the code of element i in its lower and of element i + h in its
/// upper half; n bytes with the sign in the highest bit and the mantissa below; 3 bytes for each escape: u16 position, ascending, and u8 exponent. Code 0 is exponent 0 or an
/// escape, code c is exponent window + c - 1. No overlap of input and output. Numerics: a copy, of every bit pattern; the same bytes at every width. Idea: SplitZip, arXiv 2605.01708.
/// </remarks>
internal static unsafe class ExponentCode
{
    /// <summary>Elements of a block: positions fit 16 bits, and block and code stay in the nearest cache.</summary>
    internal const int BlockElements = 4096;

    private const int HeaderBytes = 4, EscapeBytes = 3, WindowExponents = 15, SampleStep = 7, FewElements = 1024;

    /// <summary>More escapes than one in this many elements and the code gains too little: the block is refused.</summary>
    private const int ElementsPerEscape = 8;

    private const int Lanes = 32;

    /// <summary>Bytes that a block of <paramref name="elements"/> may take.</summary>
    internal static int MaxBytes(int elements) => HeaderBytes + HalfOf(elements) + elements + (elements / ElementsPerEscape * EscapeBytes);

    /// <summary>Codes one block.</summary>
    /// <param name="x">Elements, <c>[n]</c>.</param>
    /// <param name="n">1 to <see cref="BlockElements"/>.</param>
    /// <param name="coded">At least <see cref="MaxBytes"/>.</param>
    /// <returns>Bytes written, or -1 where too many exponents lie outside any window.</returns>
    internal static int Encode(ushort* x, int n, byte* coded)
    {
        int window = ChooseWindow(x, n), half = HalfOf(n);
        byte* codes = coded + HeaderBytes, rest = codes + half;
        byte* escapes = rest + n;
        byte* escapesEnd = escapes + (n / ElementsPerEscape * EscapeBytes);
        byte* next = escapes;
        int i = 0;

        // First the lower halves of the code bytes, then the upper ones: escapes are found in order.
        for (; i <= half - Lanes; i += Lanes)
        {
            EncodeLanes(x, i, window, rest, ref next, escapesEnd).Store(codes + i);
        }

        for (; i < half; i++)
        {
            codes[i] = (byte)EncodeOne(x, i, window, rest, ref next, escapesEnd);
        }

        for (; i <= n - Lanes; i += Lanes)
        {
            // Codes are below 16, so shifting 16-bit lanes moves nothing from byte to byte.
            byte* at = codes + (i - half);
            Vector256<byte> upper = EncodeLanes(x, i, window, rest, ref next, escapesEnd);
            (Vector256.Load(at) | (upper.AsUInt16() << 4).AsByte()).Store(at);
        }

        for (; i < n; i++)
        {
            codes[i - half] |= (byte)(EncodeOne(x, i, window, rest, ref next, escapesEnd) << 4);
        }

        if (next > escapesEnd)
        {
            return -1;
        }

        int count = (int)(next - escapes) / EscapeBytes;
        (coded[0], coded[1], coded[2], coded[3]) = ((byte)window, 0, (byte)count, (byte)(count >> 8));
        return (int)(next - coded);
    }

    /// <summary>Decodes one block that may come from anyone.</summary>
    /// <param name="coded">Starts with the block.</param>
    /// <param name="codedBytes">Bytes there, possibly of more blocks.</param>
    /// <param name="x">Output, <c>[n]</c>; all written where the block is well formed.</param>
    /// <param name="n">1 to <see cref="BlockElements"/>.</param>
    /// <returns>Bytes of the block, or -1 where it is not well formed.</returns>
    internal static int Decode(byte* coded, int codedBytes, ushort* x, int n)
    {
        int half = HalfOf(n), fixedBytes = HeaderBytes + half + n;
        if (codedBytes < fixedBytes)
        {
            return -1;
        }

        int window = coded[0], count = coded[2] | (coded[3] << 8);
        if (window is < 1 or > byte.MaxValue - WindowExponents || coded[1] != 0 || count > n || codedBytes - fixedBytes < count * EscapeBytes)
        {
            return -1;
        }

        byte* codes = coded + HeaderBytes, rest = codes + half;
        int i = 0;
        for (; i <= half - Lanes; i += Lanes)
        {
            DecodeLanes(Vector256.Load(codes + i) & Vector256.Create((byte)15), rest + i, window, x + i);
        }

        for (; i < half; i++)
        {
            x[i] = DecodeOne(codes[i] & 15, rest[i], window);
        }

        for (; i <= n - Lanes; i += Lanes)
        {
            DecodeLanes((Vector256.Load(codes + (i - half)).AsUInt16() >> 4).AsByte() & Vector256.Create((byte)15), rest + i, window, x + i);
        }

        for (; i < n; i++)
        {
            x[i] = DecodeOne(codes[i - half] >> 4, rest[i], window);
        }

        return TryApplyEscapes(coded + fixedBytes, count, x, n) ? fixedBytes + (count * EscapeBytes) : -1;
    }

    private static int HalfOf(int n) => (n + 1) / 2;

    private static bool TryApplyEscapes(byte* escapes, int count, ushort* x, int n)
    {
        int last = -1;
        for (int i = 0; i < count; i++, escapes += EscapeBytes)
        {
            int position = escapes[0] | (escapes[1] << 8);
            if (position <= last || position >= n)
            {
                return false;
            }

            last = position;
            x[position] = (ushort)((x[position] & 0x807F) | (escapes[2] << 7));
        }

        return true;
    }

    /// <summary>The window that holds most of a sample. Any window is right; a good one is short.</summary>
    private static int ChooseWindow(ushort* x, int n)
    {
        ushort* counts = stackalloc ushort[byte.MaxValue + 1];
        NativeMemory.Clear(counts, (byte.MaxValue + 1) * sizeof(ushort));
        int step = n < FewElements ? 1 : SampleStep;
        for (int i = 0; i < n; i += step)
        {
            counts[(x[i] >> 7) & 0xFF]++;
        }

        // Exponent 0 has a code of its own; 255 (not finite) is never in a window, so that window + code stays a byte.
        int sum = 0, best = -1, window = 1;
        for (int exponent = 1; exponent < byte.MaxValue; exponent++)
        {
            sum += counts[exponent] - (exponent > WindowExponents ? counts[exponent - WindowExponents] : 0);
            if (sum > best)
            {
                best = sum;
                window = Math.Max(1, exponent - WindowExponents + 1);
            }
        }

        return window;
    }

    /// <summary>Codes 32 elements: stores signs and mantissas, lists escapes, returns the codes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<byte> EncodeLanes(ushort* x, int i, int window, byte* rest, ref byte* next, byte* end)
    {
        Vector256<ushort> low = Vector256.Load(x + i), high = Vector256.Load(x + i + Vector256<ushort>.Count);
        Vector256<ushort> byteMask = Vector256.Create((ushort)0xFF), mantissa = Vector256.Create((ushort)0x7F), sign = Vector256.Create((ushort)0x80);
        Vector256<byte> exponents = Vector256.Narrow((low >> 7) & byteMask, (high >> 7) & byteMask);
        Vector256.Narrow((low & mantissa) | ((low >> 8) & sign), (high & mantissa) | ((high >> 8) & sign)).Store(rest + i);

        // Wraps around below the window, so one unsigned comparison sees both sides.
        Vector256<byte> offset = exponents - Vector256.Create((byte)window);
        Vector256<byte> inside = Vector256.Equals(Vector256.Min(offset, Vector256.Create((byte)(WindowExponents - 1))), offset);
        uint outside = ~(inside | Vector256.Equals(exponents, Vector256<byte>.Zero)).ExtractMostSignificantBits();
        for (; outside != 0; outside &= outside - 1)
        {
            int position = i + BitOperations.TrailingZeroCount(outside);
            AddEscape(position, x[position], ref next, end);
        }

        return (offset + Vector256<byte>.One) & inside;
    }

    /// <summary>The scalar line of <see cref="EncodeLanes"/>.</summary>
    private static int EncodeOne(ushort* x, int i, int window, byte* rest, ref byte* next, byte* end)
    {
        int value = x[i], exponent = (value >> 7) & 0xFF, offset = exponent - window;
        rest[i] = (byte)((value & 0x7F) | ((value >> 8) & 0x80));
        if (offset is >= 0 and < WindowExponents)
        {
            return offset + 1;
        }

        if (exponent != 0)
        {
            AddEscape(i, x[i], ref next, end);
        }

        return 0;
    }

    /// <summary>Lists an escape while there is room; goes on counting, so that the end sees that there was none.</summary>
    private static void AddEscape(int position, ushort value, ref byte* next, byte* end)
    {
        if (next < end)
        {
            (next[0], next[1], next[2]) = ((byte)position, (byte)(position >> 8), (byte)(value >> 7));
        }

        next += EscapeBytes;
    }

    private static void DecodeLanes(Vector256<byte> codes, byte* rest, int window, ushort* x)
    {
        // Code 0 is exponent 0, others count from the window.
        Vector256<byte> exponents = (codes + Vector256.Create((byte)(window - 1))) & ~Vector256.Equals(codes, Vector256<byte>.Zero);
        (Vector256<ushort> lowExponents, Vector256<ushort> highExponents) = Vector256.Widen(exponents);
        (Vector256<ushort> low, Vector256<ushort> high) = Vector256.Widen(Vector256.Load(rest));
        Join(low, lowExponents).Store(x);
        Join(high, highExponents).Store(x + Vector256<ushort>.Count);

        static Vector256<ushort> Join(Vector256<ushort> rest, Vector256<ushort> exponents) =>
            (rest & Vector256.Create((ushort)0x7F)) | (exponents << 7) | ((rest & Vector256.Create((ushort)0x80)) << 8);
    }

    private static ushort DecodeOne(int code, int rest, int window) =>
        (ushort)((rest & 0x7F) | ((rest & 0x80) << 8) | ((code == 0 ? 0 : code + window - 1) << 7));
}
