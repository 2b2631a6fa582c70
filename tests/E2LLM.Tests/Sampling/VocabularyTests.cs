using E2LLM.Sampling;

namespace E2LLM.Tests.Sampling;

/// <summary>What runs over a whole vocabulary, in vectors: each against a plain loop over all lengths that vectors may leave a rest of.</summary>
public sealed class VocabularyTests
{
    private static readonly float[] Special = [0f, -0f, 1f, 1f, -1f, float.NegativeInfinity, float.MinValue, float.Epsilon];

    [Fact]
    public void Sample_Greedy_IsTheFirstOfTheLargestOfAPlainLoop()
    {
        var random = new Random(3);
        for (int length = 1; length < 300; length++)
        {
            float[] logits = [.. Enumerable.Range(0, length).Select(_ => length % 3 == 0 ? Special[random.Next(Special.Length)] : random.NextSingle() - (length % 3))];
            int expected = 0;
            for (int id = 1; id < length; id++)
            {
                expected = logits[id] > logits[expected] ? id : expected;
            }

            if (float.IsNegativeInfinity(logits[expected]))
            {
                Assert.Throws<InvalidLogitsException>(() => Sampler.Sample(logits, new SamplingOptions(), 0));
            }
            else
            {
                Assert.Equal(expected, Sampler.Sample(logits, new SamplingOptions(), 0));
            }
        }
    }

    [Fact]
    public void Sample_OneBrokenLogitAnywhere_IsNamed()
    {
        for (int length = 1; length < 140; length++)
        {
            foreach (float broken in new[] { float.NaN, float.PositiveInfinity })
            {
                float[] logits = [.. Enumerable.Range(0, length).Select(id => (float)id)];
                int at = length * 5 / 7;
                logits[at] = broken;
                Assert.Equal(at, Assert.Throws<InvalidLogitsException>(() => Sampler.Sample(logits, new SamplingOptions { Temperature = 1f }, 0)).TokenId);
            }
        }
    }

    [Theory]
    [InlineData(0.01)]
    [InlineData(0.8)]
    [InlineData(30)]
    public void Ranks_AllOfThem_AreAFullSort(double temperature)
    {
        var random = new Random(9);
        foreach (int length in new[] { 1, 2, 63, 64, 65, 1000, 5000 })
        {
            // Steep, flat, with ties, and with tokens that are excluded.
            float[] logits = [.. Enumerable.Range(0, length).Select(id => (id % 4) switch { 0 => random.NextSingle() * 40, 1 => Special[id % Special.Length], _ => random.Next(20) - 10 })];
            int[] expected = [.. Enumerable.Range(0, length).OrderByDescending(id => logits[id]).ThenBy(id => id)];
            double largest = logits.Max();
            var ranked = new RankedCandidates(logits, largest, temperature);
            for (int rank = 0; rank < length; rank++)
            {
                Assert.Equal(Math.Exp((logits[expected[rank]] - largest) / temperature), ranked.Weight(rank));
                Assert.Equal(expected[rank], ranked.Id(rank));
            }

            bool isRefused = false;
            try
            {
                ranked.Weight(length);
            }
            catch (ArgumentOutOfRangeException)
            {
                isRefused = true;
            }

            Assert.True(isRefused);
            ranked.Dispose();
        }
    }

    [Fact]
    public void Sum_AnyLength_IsThatOfTheMathLibrary()
    {
        var random = new Random(5);
        for (int length = 1; length < 700; length += length < 40 ? 1 : 23)
        {
            float[] logits = [.. Enumerable.Range(0, length).Select(id => id % 7 == 3 ? float.NegativeInfinity : (random.NextSingle() * 100) - 50)];
            logits[0] = 50;
            double expected = logits.Sum(logit => Math.Exp((logit - 50.0) / 0.7));
            Assert.Equal(expected, Exponentials.Sum(logits, 50, 0.7), expected * 1e-14);
        }
    }
}
