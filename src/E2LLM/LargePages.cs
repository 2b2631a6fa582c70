using System.Runtime.InteropServices;

namespace E2LLM;

/// <summary>Asks the system to back memory by pages of 2 MiB where it may. A hint: nothing depends on it but speed.</summary>
/// <remarks>
/// A core reads through a table of a few thousand pages; keys and values lie in many places, so with pages of 4 KiB nearly every place costs a walk through the page tables, two of them nested in a virtual
/// machine. Linux gives large pages only where a program asks ("madvise", most distributions' setting). Elsewhere this does nothing.
/// </remarks>
internal static unsafe partial class LargePages
{
    // Less is not worth a system call; and a small process should stay small.
    private const nuint Smallest = 4 << 20;
    private const int HugePageAdvice = 14;

    /// <summary>Asks for <c>[memory, memory + bytes)</c>, the whole pages of it.</summary>
    internal static void Ask(void* memory, nuint bytes)
    {
        if (!OperatingSystem.IsLinux() || bytes < Smallest)
        {
            return;
        }

        nuint page = (nuint)Environment.SystemPageSize, start = ((nuint)memory + page - 1) / page * page, end = ((nuint)memory + bytes) / page * page;
        try
        {
            // The answer does not matter: a system without large pages says so, and small ones do.
            _ = Advise((void*)start, end - start, HugePageAdvice);
        }
        catch (Exception exception) when (exception is DllNotFoundException or EntryPointNotFoundException)
        {
            // A C library by another name.
        }
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(void* address, nuint length, int advice);
}
