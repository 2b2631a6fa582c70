using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace E2LLM.Benchmarks;

/// <summary>The ceilings of one core or several, measured in the same run as what is held against them.</summary>
internal static unsafe class Calibration
{
    private const long ReadBytes = 256L << 20;
    private const int NearBytes = 16 << 10;
    private const int NearRounds = 50_000;
    private const int Rounds = 2_000_000;

    /// <summary>Bytes per second that some threads together read from memory, each from its own part.</summary>
    public static double ReadBytesPerSecond(int threads = 1)
    {
        byte* memory = (byte*)NativeMemory.AlignedAlloc((nuint)ReadBytes, 64);
        NativeMemory.Fill(memory, (nuint)ReadBytes, 1);
        long part = ReadBytes / threads / 256 * 256;
        double seconds = Clock.Seconds(5, () => OnEach(threads, thread => Read(memory + (thread * part), part))).Least;
        NativeMemory.AlignedFree(memory);
        return threads * part / seconds;
    }

    /// <summary>Bytes per second that one core reads from its first-level cache.</summary>
    public static double NearReadBytesPerSecond()
    {
        byte* memory = (byte*)NativeMemory.AlignedAlloc(NearBytes, 64);
        NativeMemory.Fill(memory, NearBytes, 1);
        double seconds = Clock.Seconds(5, () =>
        {
            for (int round = 0; round < NearRounds; round++)
            {
                Read(memory, NearBytes);
            }
        }).Least;
        NativeMemory.AlignedFree(memory);
        return (double)NearBytes * NearRounds / seconds;
    }

    /// <summary>Float operations per second of independent fused multiply-adds (two per element).</summary>
    public static double FloatOperationsPerSecond(int threads = 1) =>
        2.0 * 10 * Vector512<float>.Count * Rounds * threads / Clock.Seconds(5, () => OnEach(threads, _ => Multiply())).Least;

    /// <summary>8-bit operations per second of independent vpdpbusd (two per byte), or 0 without that instruction.</summary>
    public static double ByteOperationsPerSecond(int threads = 1) =>
        AvxVnni.IsSupported ? 2.0 * 10 * Vector256<byte>.Count * Rounds * threads / Clock.Seconds(5, () => OnEach(threads, _ => Dot())).Least : 0;

    /// <summary>
    /// 8-bit operations per second of independent 512-bit vpmaddubsw (two per byte), each with the 16-bit addition of its sums, or 0 without that instruction: the ceiling of weights below 64, whose sums
    /// fit for a while. Left out are widening, scaling and all loads.
    /// </summary>
    public static double PairOperationsPerSecond(int threads = 1) =>
        Avx512BW.IsSupported ? 2.0 * 8 * Vector512<byte>.Count * Rounds * threads / Clock.Seconds(5, () => OnEach(threads, _ => Pairs())).Least : 0;

    private static void OnEach(int threads, Action<int> action)
    {
        var others = new Thread[threads - 1];
        for (int i = 0; i < others.Length; i++)
        {
            int thread = i + 1;
            others[i] = new Thread(() => action(thread));
            others[i].Start();
        }

        action(0);
        foreach (Thread other in others)
        {
            other.Join();
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static long Read(byte* memory, long bytes)
    {
        Vector512<long> a = default, b = default, c = default, d = default;
        for (byte* p = memory; p < memory + bytes; p += 256)
        {
            a += Vector512.Load((long*)p);
            b += Vector512.Load((long*)(p + 64));
            c += Vector512.Load((long*)(p + 128));
            d += Vector512.Load((long*)(p + 192));
        }

        return Vector512.Sum(a + b + c + d);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static float Multiply()
    {
        Vector512<float> m = Vector512.Create(0.999f), n = Vector512.Create(0.001f);
        Vector512<float> a = n, b = n, c = n, d = n, e = n, f = n, g = n, h = n, i = n, j = n;
        for (int round = 0; round < Rounds; round++)
        {
            a = Vector512.FusedMultiplyAdd(a, m, n);
            b = Vector512.FusedMultiplyAdd(b, m, n);
            c = Vector512.FusedMultiplyAdd(c, m, n);
            d = Vector512.FusedMultiplyAdd(d, m, n);
            e = Vector512.FusedMultiplyAdd(e, m, n);
            f = Vector512.FusedMultiplyAdd(f, m, n);
            g = Vector512.FusedMultiplyAdd(g, m, n);
            h = Vector512.FusedMultiplyAdd(h, m, n);
            i = Vector512.FusedMultiplyAdd(i, m, n);
            j = Vector512.FusedMultiplyAdd(j, m, n);
        }

        return Vector512.Sum(a + b + c + d + e + f + g + h + i + j);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static int Dot()
    {
        Vector256<byte> w = Vector256.Create((byte)3);
        Vector256<sbyte> x = Vector256.Create((sbyte)-2);
        Vector256<int> a = default, b = default, c = default, d = default, e = default, f = default, g = default, h = default, i = default, j = default;
        for (int round = 0; round < Rounds; round++)
        {
            a = AvxVnni.MultiplyWideningAndAdd(a, w, x);
            b = AvxVnni.MultiplyWideningAndAdd(b, w, x);
            c = AvxVnni.MultiplyWideningAndAdd(c, w, x);
            d = AvxVnni.MultiplyWideningAndAdd(d, w, x);
            e = AvxVnni.MultiplyWideningAndAdd(e, w, x);
            f = AvxVnni.MultiplyWideningAndAdd(f, w, x);
            g = AvxVnni.MultiplyWideningAndAdd(g, w, x);
            h = AvxVnni.MultiplyWideningAndAdd(h, w, x);
            i = AvxVnni.MultiplyWideningAndAdd(i, w, x);
            j = AvxVnni.MultiplyWideningAndAdd(j, w, x);
        }

        return Vector256.Sum(a + b + c + d + e + f + g + h + i + j);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static int Pairs()
    {
        // Unlike weights, and activations that change, or the compiler would multiply once for all.
        Vector512<byte> s = Vector512.Create((byte)1), t = Vector512.Create((byte)2), u = Vector512.Create((byte)3), v = Vector512.Create((byte)4);
        Vector512<byte> w = Vector512.Create((byte)5), x = Vector512.Create((byte)6), y = Vector512.Create((byte)7), z = Vector512.Create((byte)8);
        Vector512<sbyte> activations = Vector512.Create((sbyte)-2);
        Vector512<short> a = default, b = default, c = default, d = default, e = default, f = default, g = default, h = default;
        for (int round = 0; round < Rounds; round++)
        {
            a += Avx512BW.MultiplyAddAdjacent(s, activations);
            b += Avx512BW.MultiplyAddAdjacent(t, activations);
            c += Avx512BW.MultiplyAddAdjacent(u, activations);
            d += Avx512BW.MultiplyAddAdjacent(v, activations);
            e += Avx512BW.MultiplyAddAdjacent(w, activations);
            f += Avx512BW.MultiplyAddAdjacent(x, activations);
            g += Avx512BW.MultiplyAddAdjacent(y, activations);
            h += Avx512BW.MultiplyAddAdjacent(z, activations);
            activations ^= Vector512<sbyte>.One;
        }

        return Vector512.Sum(a + b + c + d + e + f + g + h);
    }
}
