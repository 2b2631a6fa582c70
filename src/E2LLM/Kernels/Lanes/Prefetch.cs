using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace E2LLM.Kernels.Lanes;

/// <summary>A hint to the memory system; changes no result. Does nothing where the machine has no such instruction.</summary>
internal static unsafe class Prefetch
{
    // How far ahead of the loads a line is asked for: the hardware's own prefetch stops at each page.
    internal const int Distance = 8192;

    /// <summary>Asks for one line.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Line(byte* address)
    {
        if (Sse.IsSupported)
        {
            Sse.Prefetch0(address);
        }
    }

    /// <summary>Asks for the lines that lie <paramref name="distance"/> bytes after <c>[address, address + bytes)</c>; any address is allowed, even one past a buffer.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Ahead(byte* address, int bytes, nint distance = Distance)
    {
        for (int line = 0; line < bytes; line += 64)
        {
            Line(address + distance + line);
        }
    }
}
