using E2LLM.Scheduling;

namespace E2LLM.Tests.Scheduling;

public sealed class BlockAdmissionTests
{
    [Fact]
    public async Task Acquire_MoreThanFree_WaitsInOrderOfArrival()
    {
        var admission = new BlockAdmission(blockCount: 10, blockTokenCount: 64, slotCount: 8);
        Assert.Equal(8, await admission.AcquireAsync(512, default));
        Task<int> large = admission.AcquireAsync(300, default).AsTask();
        Task<int> small = admission.AcquireAsync(1, default).AsTask();
        await Task.Delay(20);

        // The small one would fit, but the large one came first.
        Assert.False(large.IsCompleted || small.IsCompleted);
        admission.Release(8);
        Assert.Equal(5, await large);
        Assert.Equal(1, await small);
        Assert.Equal(4, admission.UnclaimedBlockCount);
    }

    [Fact]
    public async Task Acquire_CancelledWhileFirst_LetsTheNextIn()
    {
        var admission = new BlockAdmission(4, 64, 8);
        int held = await admission.AcquireAsync(200, default);
        using var cancel = new CancellationTokenSource();
        Task<int> first = admission.AcquireAsync(65, cancel.Token).AsTask();
        Task<int> second = admission.AcquireAsync(1, default).AsTask();
        Assert.Equal(0, admission.BlockCount - held);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first);
        admission.Release(held);
        Assert.Equal(1, await second);
        Assert.Equal((3, 0), (admission.UnclaimedBlockCount, admission.WaitingCount));
    }

    [Fact]
    public async Task Acquire_NoSlot_WaitsThoughBlocksAreFree()
    {
        var admission = new BlockAdmission(100, 64, 1);
        int held = await admission.AcquireAsync(1, default);
        Task<int> next = admission.AcquireAsync(1, default).AsTask();
        await Task.Delay(20);
        Assert.False(next.IsCompleted);
        admission.Release(held);
        Assert.Equal(1, await next);
    }

    [Fact]
    public async Task Acquire_NeverFits_IsTheCallersMistake() =>
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => new BlockAdmission(2, 64, 1).AcquireAsync(129, default).AsTask());

    [Fact]
    public async Task Close_EndsPresentAndFutureWaits()
    {
        var admission = new BlockAdmission(1, 64, 1);
        await admission.AcquireAsync(1, default);
        Task<int> waiting = admission.AcquireAsync(1, default).AsTask();
        admission.Close(new IOException("gone"));
        await Assert.ThrowsAsync<IOException>(() => waiting);
        await Assert.ThrowsAsync<IOException>(() => admission.AcquireAsync(1, default).AsTask());
    }

    [Fact]
    public async Task Acquire_ManyAtRandom_NeverExceedsTheBudgetAndEndsFull()
    {
        var admission = new BlockAdmission(20, 64, 5);
        int held = 0, count = 0;
        await Task.WhenAll(Enumerable.Range(0, 400).Select(i => Task.Run(async () =>
        {
            int tokens = 1 + (i * 37 % 1000);
            using var cancel = new CancellationTokenSource(i % 5 == 0 ? TimeSpan.FromMilliseconds(i % 7) : TimeSpan.FromSeconds(60));
            try
            {
                int blocks = await admission.AcquireAsync(tokens, cancel.Token);
                Assert.InRange(Interlocked.Add(ref held, blocks), 1, 20);
                Assert.InRange(Interlocked.Increment(ref count), 1, 5);
                await Task.Yield();
                Interlocked.Decrement(ref count);
                Interlocked.Add(ref held, -blocks);
                admission.Release(blocks);
            }
            catch (OperationCanceledException)
            {
            }
        })));
        Assert.Equal((20, 0), (admission.UnclaimedBlockCount, admission.WaitingCount));
    }
}
