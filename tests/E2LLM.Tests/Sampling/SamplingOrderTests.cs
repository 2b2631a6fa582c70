using E2LLM.Sampling;

namespace E2LLM.Tests.Sampling;

/// <summary>Every filter, bias and penalty, alone and together.</summary>
public sealed class SamplingOrderTests
{
    [Fact]
    public void Choose_RandomOptions_EqualsTheReference()
    {
        var random = new Random(17);
        int judged = 0;
        for (int round = 0; round < 4000; round++)
        {
            int vocabulary = random.Next(1, 60);

            // Coarse steps, so that equal logits are common.
            float[] logits = [.. Enumerable.Range(0, vocabulary).Select(_ => random.Next(20) == 0 ? float.NegativeInfinity : random.Next(-20, 20) * 0.25f)];
            logits[random.Next(vocabulary)] = 1f;
            int[] tokens = [.. Enumerable.Range(0, random.Next(0, 100)).Select(_ => random.Next(vocabulary))];
            SamplingOptions options = Options(random, vocabulary);
            (int expected, double margin) = ReferenceSampler.Choose(logits, options, tokens.Length, tokens);
            if (margin > 1e-12)
            {
                judged++;
                Assert.Equal(expected, Sampler.Sample(logits, options, tokens.Length, tokens));
            }
        }

        Assert.True(judged > 3900);
    }

    [Fact]
    public void Choose_LogProbabilities_AreThoseOfTheModelItself()
    {
        var random = new Random(5);
        for (int round = 0; round < 200; round++)
        {
            float[] logits = [.. Enumerable.Range(0, 40).Select(_ => random.Next(-40, 40) * 0.25f)];
            double[] expected = ReferenceSampler.LogProbabilities(logits);
            SamplingOptions options = Options(random, 40) with { LogProbabilities = true, TopLogProbabilityCount = random.Next(21) };
            TokenChoice choice = Sampler.Choose(logits, options, 3, [1, 2, 3]);
            Assert.Equal(expected[choice.Id], choice.LogProbability!.Value, 1e-5);
            Assert.Equal(
                Enumerable.Range(0, 40).OrderByDescending(id => logits[id]).ThenBy(id => id).Take(options.TopLogProbabilityCount),
                choice.Top.Select(token => token.Id));
            Assert.All(choice.Top, token => Assert.Equal(expected[token.Id], token.LogProbability, 1e-5));
            Assert.Equal(choice.Id, Sampler.Sample(logits, options with { LogProbabilities = false, TopLogProbabilityCount = 0 }, 3, [1, 2, 3]));
        }
    }

    [Fact]
    public void Choose_NotAskedFor_HasNoLogProbabilities()
    {
        TokenChoice choice = Sampler.Choose([0f, 1f], new SamplingOptions(), 0);
        Assert.Null(choice.LogProbability);
        Assert.Empty(choice.Top);
        Assert.Empty(default(TokenChoice).Top);
    }

    [Fact]
    public void Sample_LogitBias_ShiftsTheOddsByItsExponential()
    {
        // Two equal tokens and a bias of ln 3: three to one.
        var options = new SamplingOptions { Temperature = 1f, Seed = 2, LogitBias = new Dictionary<int, float> { [1] = MathF.Log(3) } };
        const int Draws = 20_000;
        int second = Enumerable.Range(0, Draws).Count(position => Sampler.Sample([0f, 0f], options, position) == 1);
        Assert.InRange(second, (Draws * 0.75) - (5 * Math.Sqrt(Draws * 0.1875)), (Draws * 0.75) + (5 * Math.Sqrt(Draws * 0.1875)));
    }

    [Fact]
    public void Sample_BiasOfMinusInfinity_ExcludesAndAllExcludedThrows()
    {
        var options = new SamplingOptions { LogitBias = new Dictionary<int, float> { [1] = float.NegativeInfinity } };
        Assert.Equal(2, Sampler.Sample([0f, 9f, 1f], options, 0));
        Assert.Throws<InvalidLogitsException>(() => Sampler.Sample([float.NegativeInfinity, 9f], options, 0));
    }

    [Fact]
    public void Sample_Penalties_LookAtTheWindowOnly()
    {
        var options = new SamplingOptions { PresencePenalty = 10f, PenaltyWindow = 2 };
        Assert.Equal(1, Sampler.Sample([0f, 1f], options, 4, [1, 1, 0, 0]));
        Assert.Equal(0, Sampler.Sample([0f, 1f], options, 4, [0, 0, 1, 1]));
        Assert.Equal(0, Sampler.Sample([0f, 1f], options with { PenaltyWindow = int.MaxValue }, 3, [1, 1, 1]));
    }

    [Fact]
    public void Sample_TokensMissing_SaysHowMany()
    {
        var options = new SamplingOptions { FrequencyPenalty = 1f, PenaltyWindow = 8 };
        var error = Assert.Throws<ArgumentException>(() => Sampler.Sample([0f, 1f], options, 20, [0, 1, 0]));
        Assert.Contains("8 tokens before position 20", error.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => Sampler.Sample([0f, 1f], options, 1, [2]));
        Assert.Throws<ArgumentException>(() => Sampler.Sample([0f, 1f], new SamplingOptions { LogitBias = new Dictionary<int, float> { [2] = 0f } }, 1));
    }

    [Fact]
    public void Sample_PenaltyBelowOneOnAHugeLogit_StaysFinite()
    {
        var options = new SamplingOptions { RepetitionPenalty = 0.01f, Temperature = 1f };
        Assert.Equal(1, Sampler.Sample([0f, 1e38f], options, 1, [1]));
    }

    public static TheoryData<SamplingOptions> OutOfRange => new()
    {
        new SamplingOptions { RepetitionPenalty = 0f },
        new SamplingOptions { RepetitionPenalty = float.NaN },
        new SamplingOptions { FrequencyPenalty = float.PositiveInfinity },
        new SamplingOptions { PresencePenalty = 101f },
        new SamplingOptions { PenaltyWindow = 0 },
        new SamplingOptions { TopLogProbabilityCount = 21, LogProbabilities = true },
        new SamplingOptions { TopLogProbabilityCount = 1 },
        new SamplingOptions { LogitBias = new Dictionary<int, float> { [-1] = 0f } },
        new SamplingOptions { LogitBias = new Dictionary<int, float> { [0] = float.NaN } },
        new SamplingOptions { LogitBias = Enumerable.Range(0, SamplingOptions.MaxLogitBiasCount + 1).ToDictionary(id => id, _ => 0f) },
    };

    [Theory]
    [MemberData(nameof(OutOfRange))]
    public void Validate_OutOfRange_Throws(SamplingOptions options) => Assert.Throws<ArgumentOutOfRangeException>(options.Validate);

    private static SamplingOptions Options(Random random, int vocabulary) => new()
    {
        Temperature = random.Next(5) == 0 ? 0f : 0.2f + (2f * random.NextSingle()),
        TopK = random.Next(3) == 0 ? random.Next(1, 70) : 0,
        TopP = random.Next(3) == 0 ? 0.05f + (0.95f * random.NextSingle()) : 1f,
        MinP = random.Next(3) == 0 ? random.NextSingle() : 0f,
        RepetitionPenalty = random.Next(3) == 0 ? 0.5f + random.NextSingle() : 1f,
        FrequencyPenalty = random.Next(3) == 0 ? random.NextSingle() - 0.3f : 0f,
        PresencePenalty = random.Next(3) == 0 ? random.NextSingle() - 0.3f : 0f,
        PenaltyWindow = random.Next(2) == 0 ? random.Next(1, 30) : 64,
        LogitBias = random.Next(3) == 0 ? new Dictionary<int, float> { [random.Next(vocabulary)] = (4f * random.NextSingle()) - 2f } : new Dictionary<int, float>(),
        Seed = (ulong)random.NextInt64(),
    };
}
