using System.Runtime.InteropServices;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>Processor time of the calling thread, so that the processes of this sample, which share two processors, do not count each other's work as theirs. Linux only; elsewhere the system's clock.</summary>
internal sealed partial class ThreadClock : TimeProvider
{
    private const int ThreadProcessorTime = 3;
    private const long Second = 1_000_000_000;

    public static TimeProvider Instance { get; } = OperatingSystem.IsLinux() && Environment.Is64BitProcess ? new ThreadClock() : System;

    public override long TimestampFrequency => Second;

    public override long GetTimestamp() => clock_gettime(ThreadProcessorTime, out TimeSpec time) == 0
        ? (time.Seconds * Second) + time.Nanoseconds
        : throw new NotSupportedException("This system does not tell a thread's processor time.");

    [LibraryImport("libc", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int clock_gettime(int clock, out TimeSpec time);

    [StructLayout(LayoutKind.Sequential)]
    private struct TimeSpec
    {
        public long Seconds;
        public long Nanoseconds;
    }
}
