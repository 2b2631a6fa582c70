using E2LLM.Execution;
using E2LLM.KvCaching;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Execution;

/// <summary>Runs alone, since it counts what the whole process allocates: worker threads included.</summary>
[Collection(nameof(AllocationTests))]
[CollectionDefinition(nameof(AllocationTests), DisableParallelization = true)]
public sealed class AllocationTests
{
    [Theory]
    [InlineData("f32", 1)]
    [InlineData("q8_0", 2)]
    public void Forward_AfterWarmUp_AllocatesNothing(string type, int threads)
    {
        using var model = new TestModel(TestModel.OwnModel(type), new ExecutorOptions { ThreadCount = threads });
        float[] hidden = new float[40 * model.Shape.HiddenSize], logits = new float[model.Shape.VocabularySize];
        int[] ids = [.. Enumerable.Range(3, 40)];
        using KvCache sequence = model.Executor.CreateSequence();
        sequence.Reserve(500);

        // Long enough a context that workers share segments.
        for (int i = 0; i < 7; i++)
        {
            Prefill();
            Decode();
        }

        // The test runner allocates now and then; our own bytes would show every time, so some quiet try must show none.
        Assert.Equal(0, Least(Decode));
        sequence.Truncate(280);
        sequence.Reserve(500);
        Assert.Equal(0, Least(() =>
        {
            Prefill();
            sequence.Truncate(280);
            sequence.Reserve(500);
        }));

        void Prefill()
        {
            model.Executor.Embed(ids, hidden);
            model.Executor.Forward([new SequenceSlice(sequence, ids.Length)], hidden);
        }

        void Decode()
        {
            Span<float> row = hidden.AsSpan(0, model.Shape.HiddenSize);
            model.Executor.Embed(ids.AsSpan(0, 1), row);
            model.Executor.Forward([new SequenceSlice(sequence, 1)], row);
            model.Executor.ComputeLogits(row, logits);
        }
    }

    private static long Least(Action step)
    {
        step();
        long least = long.MaxValue;
        for (int attempt = 0; attempt < 100 && least > 0; attempt++)
        {
            long before = GC.GetTotalAllocatedBytes(precise: true);
            step();
            least = Math.Min(least, GC.GetTotalAllocatedBytes(precise: true) - before);
        }

        return least;
    }
}
