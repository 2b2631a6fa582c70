using E2LLM.Tests.Support;
using E2LLM.Transfer.Codecs;

namespace E2LLM.Tests.Transfer.Codecs;

public sealed class BytePlanesTests
{
    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    public void ExtractAndJoin_EveryLength_AreWhatTheIndicesSay(int planeCount)
    {
        var random = new Random(planeCount);
        for (int count = 0; count <= 257; count++)
        {
            using var elements = new GuardedArray<byte>(count * planeCount);
            random.NextBytes(elements.Span);
            using var planes = new GuardedArray<byte>(count * planeCount);
            for (int p = 0; p < planeCount; p++)
            {
                using var plane = new GuardedArray<byte>(count);
                BytePlanes.Extract(elements.Span, planeCount, p, plane.Span);
                for (int i = 0; i < count; i++)
                {
                    Assert.Equal(elements.Span[(i * planeCount) + p], plane.Span[i]);
                }

                plane.Span.CopyTo(planes.Span[(p * count)..]);
            }

            using var joined = new GuardedArray<byte>(count * planeCount);
            BytePlanes.Join(planes.Span, planeCount, joined.Span);
            Assert.Equal(elements.Span, joined.Span);
        }
    }
}
