namespace E2LLM.Tests;

public sealed class LayerRangeTests
{
    [Fact]
    public void Constructor_EndBeforeStart_Throws() => Assert.Throws<ArgumentOutOfRangeException>(() => new LayerRange(3, 2));

    [Theory]
    [InlineData(0, 4, 2, 6, 2, 4)]
    [InlineData(0, 2, 2, 6, 0, 0)]
    [InlineData(1, 9, 3, 4, 3, 4)]
    public void Intersect_TwoRanges_GivesSharedLayers(int aStart, int aEnd, int bStart, int bEnd, int start, int end) =>
        Assert.Equal(new LayerRange(start, end), new LayerRange(aStart, aEnd).Intersect(new LayerRange(bStart, bEnd)));
}
