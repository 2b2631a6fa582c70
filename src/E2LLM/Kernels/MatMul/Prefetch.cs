using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace E2LLM.Kernels.MatMul;

/// <summary>A hint to the memory system; changes no result. Does nothing where the machine has no such instruction.</summary>
internal static unsafe class Prefetch
{
    /// <summary>Asks for a cache line; any address is allowed, even one past a buffer.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Line(byte* address)
    {
        if (Sse.IsSupported)
        {
            Sse.Prefetch0(address);
        }
    }
}
