using System.Runtime.InteropServices;

namespace E2LLM.Tests.Support;

/// <summary>Signals to other processes, at once: a program that sends them would be too late for some.</summary>
internal static partial class Signals
{
    public const int Interrupt = 2, Kill = 9, Terminate = 15;

    public static void Send(int processId, int signal) => Assert.Equal(0, SendCore(processId, signal));

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int SendCore(int processId, int signal);
}
