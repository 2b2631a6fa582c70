using System.Runtime.CompilerServices;

namespace E2LLM.Kernels.MatMul;

/// <summary>Where the rows of a tile's tokens begin. A missing token is the first again: same inputs, same output address, same bits.</summary>
internal static unsafe class TokenRows
{
    /// <summary>Rows of up to four tokens.</summary>
    /// <param name="first">The first token's row.</param>
    /// <param name="stride">Elements from token to token.</param>
    /// <param name="count">Tokens, 1 to 4.</param>
    /// <param name="t0">First token; the others are further tokens.</param>
    /// <param name="t1">Second token.</param>
    /// <param name="t2">Third token.</param>
    /// <param name="t3">Fourth token.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Four<T>(T* first, nint stride, int count, out T* t0, out T* t1, out T* t2, out T* t3)
        where T : unmanaged
    {
        t0 = first;
        t1 = count > 1 ? first + stride : first;
        t2 = count > 2 ? first + (2 * stride) : first;
        t3 = count > 3 ? first + (3 * stride) : first;
    }

    /// <summary>Rows of up to eight tokens; see <see cref="Four"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Eight<T>(T* first, nint stride, int count, out T* t0, out T* t1, out T* t2, out T* t3, out T* t4, out T* t5, out T* t6, out T* t7)
        where T : unmanaged
    {
        Four(first, stride, count, out t0, out t1, out t2, out t3);
        t4 = count > 4 ? first + (4 * stride) : first;
        t5 = count > 5 ? first + (5 * stride) : first;
        t6 = count > 6 ? first + (6 * stride) : first;
        t7 = count > 7 ? first + (7 * stride) : first;
    }
}
