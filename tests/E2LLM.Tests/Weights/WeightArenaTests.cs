using System.Globalization;
using E2LLM.Weights;

namespace E2LLM.Tests.Weights;

public sealed unsafe class WeightArenaTests
{
    [Fact]
    public void Take_OneAfterAnother_FollowsWithoutGapUntilItIsFull()
    {
        using var arena = new WeightArena(AlignedBuffer.RoundUp(100) + AlignedBuffer.RoundUp(64));
        AlignedBuffer first = arena.Take(100), second = arena.Take(64);
        Assert.Equal((128, 64), (first.Bytes, second.Bytes));
        Assert.True(second.Pointer == first.Pointer + 128);
        new Span<byte>(second.Pointer, 64).Fill(7);

        // A part owns nothing: its end does not end the arena.
        first.Dispose();
        Assert.Equal(7, second.Pointer[63]);
        Assert.Throws<ArgumentOutOfRangeException>(() => arena.Take(1));
    }

    [Fact]
    public void AlignedBuffer_OfSeveralMegabytes_AsksForLargePages()
    {
        if (!OperatingSystem.IsLinux() || !Directory.Exists("/sys/kernel/mm/transparent_hugepage"))
        {
            return;
        }

        using var buffer = new AlignedBuffer(8 << 20);
        Assert.Contains("hg", FlagsOf((ulong)buffer.Pointer + (4 << 20)));
    }

    /// <summary>What the system notes about the mapping that an address lies in.</summary>
    private static string[] FlagsOf(ulong address)
    {
        bool inside = false;
        foreach (string line in File.ReadLines("/proc/self/smaps"))
        {
            string[] ends = line.Split(' ')[0].Split('-');
            if (ends.Length == 2 && ulong.TryParse(ends[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out ulong start) && ulong.TryParse(ends[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out ulong end))
            {
                inside = start <= address && address < end;
            }
            else if (inside && line.StartsWith("VmFlags:", StringComparison.Ordinal))
            {
                return line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            }
        }

        return [];
    }
}
