using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using E2LLM.Kernels.MatMul;

namespace E2LLM.Tests.Kernels;

/// <summary>
/// A run with instruction sets switched off proves nothing unless they are off: E2LLM_EXPECT_ISA says what the run expects
/// (<c>default</c>, <c>no-avx512</c>, <c>no-avx2</c> or <c>none</c>), and this test holds the process to it.
/// </summary>
public sealed class InstructionSetTests
{
    [Fact]
    public void Process_InstructionSets_AreAsTheRunExpects()
    {
        string expected = Environment.GetEnvironmentVariable("E2LLM_EXPECT_ISA") ?? "default";
        switch (expected)
        {
            case "none":
                Assert.False(Vector128.IsHardwareAccelerated);
                Assert.False(Vector128Dot<Bits8>.IsSupported);
                break;
            case "no-avx2":
                Assert.False(Vector256.IsHardwareAccelerated);
                Assert.False(Avx2.IsSupported || Fma.IsSupported || AvxVnni.IsSupported);
                Assert.True(Vector128.IsHardwareAccelerated);
                break;
            case "no-avx512":
                Assert.False(Vector512.IsHardwareAccelerated);
                Assert.False(Avx512F.IsSupported);
                break;
            default:
                Assert.Equal("default", expected);
                Assert.True(Vector128.IsHardwareAccelerated);
                Assert.Equal(HasCpuFlag("avx2"), Avx2.IsSupported);
                Assert.Equal(HasCpuFlag("avx512bw") && HasCpuFlag("avx512vl"), Avx512BW.IsSupported);
                break;
        }
    }

    /// <summary>Whether the kernel lists the flag; where there is no such list the runtime's own word is taken.</summary>
    private static bool HasCpuFlag(string flag) => File.Exists("/proc/cpuinfo") && System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture == System.Runtime.InteropServices.Architecture.X64
        ? File.ReadLines("/proc/cpuinfo").First(line => line.StartsWith("flags", StringComparison.Ordinal)).Split(' ').Contains(flag)
        : flag == "avx2" ? Avx2.IsSupported : Avx512BW.IsSupported;
}
