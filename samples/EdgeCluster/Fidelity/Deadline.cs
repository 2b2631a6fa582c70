using System.Diagnostics;
using System.Runtime.InteropServices;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>
/// Waits until a moment instead of for a time, so that what came before does not add up. On Linux the kernel's timer wakes the thread, some 0.06 ms late, without turning; elsewhere sleep, which is good to a
/// millisecond or so, and turning for the rest.
/// </summary>
internal static partial class Deadline
{
    private const int Monotonic = 1, Absolute = 1, Interrupted = 4;
    private const long NanosecondsPerSecond = 1_000_000_000;

    // There a time stamp is the kernel's monotonic clock in nanoseconds.
    private static readonly bool HasKernelTimer = OperatingSystem.IsLinux() && Environment.Is64BitProcess && Stopwatch.Frequency == NanosecondsPerSecond;

    /// <summary>Returns when <see cref="Stopwatch.GetTimestamp"/> has reached <paramref name="due"/>; at once where it has.</summary>
    public static void Wait(long due)
    {
        while (due - Stopwatch.GetTimestamp() is var left and > 0)
        {
            if (HasKernelTimer)
            {
                var time = new TimeSpec { Seconds = due / NanosecondsPerSecond, Nanoseconds = due % NanosecondsPerSecond };
                if (clock_nanosleep(Monotonic, Absolute, time, IntPtr.Zero) is var error and not (0 or Interrupted))
                {
                    throw new NotSupportedException($"The kernel's timer failed with error {error}.");
                }
            }
            else if (left * 1000.0 / Stopwatch.Frequency is var milliseconds and > 1.2)
            {
                Thread.Sleep((int)(milliseconds - 0.2));
            }
            else
            {
                Thread.Yield();
            }
        }
    }

    [LibraryImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int clock_nanosleep(int clock, int flags, in TimeSpec time, IntPtr remaining);

    [StructLayout(LayoutKind.Sequential)]
    private struct TimeSpec
    {
        public long Seconds;
        public long Nanoseconds;
    }
}
