using System.Diagnostics;
using System.Runtime.InteropServices;

namespace E2LLM.Tests.Support;

/// <summary>Signals to other processes, at once: a program that sends them would be too late for some.</summary>
internal static partial class Signals
{
    public const int Interrupt = 2, Terminate = 15;

    public static void Send(Process process, int signal) => Assert.Equal(0, Kill(process.Id, signal));

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int processId, int signal);
}
