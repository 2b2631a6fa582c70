using E2LLM.KvCaching;

namespace E2LLM.Tests.KvCaching;

public sealed unsafe class KvBlockMemoryTests
{
    [Theory]
    [InlineData(192, 5)]
    [InlineData((32 << 20) + 64, 3)]
    [InlineData(10 << 20, 7)]
    public void Take_AnyOrder_GivesZeroedBlocksOfTheirOwn(long blockBytes, int blockCount)
    {
        var memory = new KvBlockMemory(blockBytes, blockCount, KvBlockMemory.Allocate);
        try
        {
            for (int i = blockCount - 1; i >= 0; i--)
            {
                memory.Take(i);
                Assert.Equal(0, (nint)memory.Pointer(i) % 64);
                Assert.Equal((0, 0), (memory.Pointer(i)[0], memory.Pointer(i)[blockBytes - 1]));
                (memory.Pointer(i)[0], memory.Pointer(i)[blockBytes - 1]) = ((byte)(i + 1), (byte)(i + 1));
            }

            for (int i = 0; i < blockCount; i++)
            {
                memory.Take(i);
                Assert.Equal((i + 1, i + 1), (memory.Pointer(i)[0], memory.Pointer(i)[blockBytes - 1]));
            }
        }
        finally
        {
            memory.Free();
            memory.Free();
        }

        Assert.True(memory.Pointer(0) is null);
    }
}
