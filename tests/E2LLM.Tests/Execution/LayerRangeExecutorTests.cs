using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Tests.Support;
using E2LLM.Weights;

namespace E2LLM.Tests.Execution;

public sealed class LayerRangeExecutorTests
{
    [Fact]
    public void Forward_WrongArguments_ThrowsAndChangesNothing()
    {
        using var model = new TestModel(TestModel.OwnModel("q8_0"));
        using var other = new TestModel(TestModel.OwnModel("q8_0"));
        LayerRangeExecutor executor = model.Executor;
        int width = model.Shape.HiddenSize;
        using KvCache sequence = executor.CreateSequence(), foreign = other.Executor.CreateSequence();
        float[] hidden = new float[600 * width];
        Assert.Throws<ArgumentException>(() => executor.Forward([new SequenceSlice(sequence, 2)], hidden.AsSpan(0, width)));
        Assert.Throws<ArgumentException>(() => executor.Forward([new SequenceSlice(foreign, 1)], hidden.AsSpan(0, width)));
        Assert.Throws<ArgumentException>(() => executor.Forward([new SequenceSlice(sequence, 1), new SequenceSlice(sequence, 1)], hidden.AsSpan(0, 2 * width)));
        Assert.Throws<ArgumentOutOfRangeException>(() => executor.Forward([new SequenceSlice(sequence, 0)], []));
        Assert.Throws<ArgumentException>(() => executor.Forward([new SequenceSlice(sequence, 513)], hidden.AsSpan(0, 513 * width)));
        Assert.Throws<ArgumentNullException>(() => executor.Forward([new SequenceSlice(null!, 1)], hidden.AsSpan(0, width)));
        Assert.Throws<ArgumentOutOfRangeException>(() => executor.Embed([2048], hidden.AsSpan(0, width)));
        Assert.Throws<ArgumentOutOfRangeException>(() => executor.Embed([-1], hidden.AsSpan(0, width)));
        Assert.Throws<ArgumentException>(() => executor.ComputeLogits(hidden.AsSpan(0, width + 1), new float[2048]));
        Assert.Equal((0, 0), (sequence.Length, sequence.Capacity));
        executor.Forward([], []);
    }

    [Fact]
    public void Forward_PoolFull_ThrowsAndChangesNothing()
    {
        using var model = new TestModel(TestModel.OwnModel("q8_0"), new ExecutorOptions { ThreadCount = 1, KvBlockCount = 3 });
        int width = model.Shape.HiddenSize;
        using KvCache a = model.Executor.CreateSequence(), b = model.Executor.CreateSequence();
        model.Executor.Forward([new SequenceSlice(a, 64)], new float[64 * width]);
        var full = Assert.Throws<KvCacheFullException>(
            () => model.Executor.Forward([new SequenceSlice(a, 1), new SequenceSlice(b, 65)], new float[66 * width]));
        Assert.Equal((3, 2), (full.NeededBlockCount, full.FreeBlockCount));
        Assert.Equal((64, 0, 2), (a.Length, b.Capacity, model.Executor.KvPool.FreeBlockCount));
        model.Executor.Forward([new SequenceSlice(a, 1), new SequenceSlice(b, 64)], new float[65 * width]);
    }

    [Fact]
    public void Forward_Cancelled_KeepsLengths()
    {
        using var model = new TestModel(TestModel.OwnModel("q8_0"), new ExecutorOptions { ThreadCount = 1, MaxBatchTokenCount = 4 });
        using KvCache sequence = model.Executor.CreateSequence();
        Assert.Throws<OperationCanceledException>(() => model.Executor.Forward(
            [new SequenceSlice(sequence, 9)], new float[9 * model.Shape.HiddenSize], new CancellationToken(canceled: true)));
        Assert.Equal(0, sequence.Length);
        Assert.Equal(9 * model.Shape.HiddenSize, model.Hidden(sequence, [1, 2, 3, 4, 5, 6, 7, 8, 9]).Length);
    }

    [Fact]
    public void Use_PartsNotLoaded_ThrowsAndSaysWhich()
    {
        using GgufFile file = GgufFile.Open(TestModel.OwnModel("q8_0"));
        ModelShape shape = ModelShapeReader.Read(file);
        using ModelWeights weights = ModelWeights.Load(file, shape, new LayerRange(2, 4), embedding: false, head: false);
        using var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = 1 });
        Assert.Equal((new LayerRange(2, 4), false, false), (executor.Layers, executor.HasEmbedding, executor.HasHead));
        Assert.Contains("[2, 4)", Assert.Throws<InvalidOperationException>(() => executor.Embed([1], new float[shape.HiddenSize])).Message, StringComparison.Ordinal);
        Assert.Throws<InvalidOperationException>(() => executor.ComputeLogits(new float[shape.HiddenSize], new float[shape.VocabularySize]));
    }

    [Fact]
    public void Use_AfterDispose_Throws()
    {
        var model = new TestModel(TestModel.OwnModel("q8_0"));
        KvCache sequence = model.Executor.CreateSequence();
        model.Dispose();
        model.Dispose();
        Assert.Throws<ObjectDisposedException>(() => model.Executor.Forward([new SequenceSlice(sequence, 1)], new float[256]));
        Assert.Throws<ObjectDisposedException>(() => model.Executor.CreateSequence());
        Assert.Throws<ObjectDisposedException>(() => sequence.Reserve(1));
        sequence.Dispose();
    }

    [Theory]
    [InlineData(-1, 512)]
    [InlineData(1025, 512)]
    [InlineData(1, 0)]
    [InlineData(1, 65_537)]
    public void Options_OutOfRange_Throws(int threads, int batch) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new ExecutorOptions { ThreadCount = threads, MaxBatchTokenCount = batch }.Validate());

    [Fact]
    public void Options_KvBudget_DecidesBlockCount()
    {
        // 6 layers, 2 x 2 heads of 32 elements of 2 bytes: 1,536 bytes a position, 98,304 a block.
        using var model = new TestModel(TestModel.OwnModel("q8_0"), new ExecutorOptions { ThreadCount = 1, KvBudgetBytes = 1_000_000 });
        Assert.Equal(98_304, model.Executor.KvPool.Layout.BlockBytes);
        Assert.Equal(10, model.Executor.KvPool.BlockCount);
    }
}
