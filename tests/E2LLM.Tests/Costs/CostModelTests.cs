using E2LLM.Costs;

namespace E2LLM.Tests.Costs;

/// <summary>Numbers worked by hand from the formulas in the documentation.</summary>
public sealed class CostModelTests
{
    private static readonly DeviceProfile Device = new()
    {
        Name = "d",
        MemoryBytes = 1_000_000,
        ComputeFlopsPerSecond = 1000,
        MemoryBytesPerSecond = 100,
        StageOverheadSeconds = 0.5,
    };

    // One layer: 400 bytes, 200 flops per token, 8 flops per pair, 2 KV bytes per token.
    private static readonly ModelCost Tiny = new()
    {
        Name = "tiny",
        HiddenSize = 4,
        FeedForwardSize = 8,
        QueryWidth = 4,
        VocabularySize = 50,
        ContextLength = 100,
        Layers = [.. Enumerable.Range(0, 3).Select(_ => new LayerCost
        {
            WeightBytes = 400,
            FlopsPerToken = 200,
            AttentionFlopsPerPair = 8,
            KvBytesPerToken = 2,
        })],
        EmbeddingBytes = 800,
        HeadBytes = 816,
    };

    [Fact]
    public void PrefillLayer_ComputeBound_IsFlopsOverSpeed()
    {
        // 10 tokens after 20: 10 * (200 + 25 * 8) = 4000 flops = 4 s; memory 400 + 2 * 30 = 460 bytes = 4.6 s, so memory wins.
        Assert.Equal(4.6, StageCost.PrefillLayerSeconds(Device, Tiny, Tiny.Layers[0], 10, 20), 12);

        // 20 tokens after 0: 20 * (200 + 10 * 8) = 5600 flops = 5.6 s against 440 bytes = 4.4 s.
        Assert.Equal(5.6, StageCost.PrefillLayerSeconds(Device, Tiny, Tiny.Layers[0], 20, 0), 12);
    }

    [Fact]
    public void DecodeLayer_MemoryBound_ReadsWeightsOnceAndEveryCache()
    {
        // 3 sequences of 10: 400 + 3 * 10 * 2 = 460 bytes = 4.6 s; flops 3 * (200 + 80) = 840 = 0.84 s.
        Assert.Equal(4.6, StageCost.DecodeLayerSeconds(Device, Tiny, Tiny.Layers[0], 3, 10), 12);
    }

    [Fact]
    public void DecodeStage_WithHead_AddsOverheadEmbeddingAndHead()
    {
        // overhead 0.5 + 2 layers of 4.6 + embedding 3 rows * 16 bytes / 100 + head max(3 * 400 / 1000, 816 / 100).
        double seconds = StageCost.DecodeSeconds(Device, Tiny, new LayerRange(1, 3), true, true, 3, 10);
        Assert.Equal(0.5 + 9.2 + 0.48 + 8.16, seconds, 12);
    }

    [Fact]
    public void Memory_OfAStage_SumsEveryPart()
    {
        // 2 layers * 400 + embedding 800 + head 816 + 2 layers * 2 bytes * 70 tokens + 5 tokens * 4 * (16 + 8 + 16) + 3 logits rows * 4 * 50.
        Assert.Equal(800 + 800 + 816 + 280 + 800 + 600, StageCost.MemoryBytes(Tiny, new LayerRange(0, 2), true, true, 70, 5, 3));
    }

    [Fact]
    public void Memory_TiedHeadOnTheEmbeddingsStage_CountsTheMatrixOnce()
    {
        ModelCost tied = Tiny with { TiedHead = true };
        Assert.Equal(816, tied.WeightBytes(new LayerRange(0, 0), true, true));
        Assert.Equal(800, tied.WeightBytes(new LayerRange(0, 0), true, false));
        Assert.Equal(816, tied.WeightBytes(new LayerRange(0, 0), false, true));
    }

    [Fact]
    public void ExpectedExperts_TopFourOfThirtyTwo_CoversMostAtSixteen()
    {
        ModelCost model = ModelCost.Parse(TestClusters.GptOssShape);
        Assert.Equal(4, model.ExpectedExperts(1), 12);
        Assert.Equal(0.88, model.ExpectedExperts(16) / 32, 2);
    }

    [Fact]
    public void Parse_GptOss_MatchesThePublishedCounts()
    {
        ModelCost model = ModelCost.Parse(TestClusters.GptOssShape);

        // 20.9 billion parameters, of which 2 * 0.579 are embedding and head; KV 2 * 8 * 64 * 2 bytes per layer and token = 49,152 in all.
        double parameters = ((model.Layers.Sum(layer => (double)layer.WeightBytes) + model.EmbeddingBytes + model.HeadBytes) * 8) / 4.6;
        Assert.InRange(parameters, 20.7e9, 21.1e9);
        Assert.Equal(49_152, model.KvBytesPerToken);

        // 576 tokens: 12 full layers and 12 of window 128.
        Assert.Equal((12 * 576 * 2048.0) + (12 * 128 * 2048.0), model.KvBytes(new LayerRange(0, 24), 576));
        Assert.False(model.HasUniformLayers);
    }

    [Fact]
    public void Parse_Llama8B_MatchesThePublishedSize()
    {
        ModelCost model = ModelCost.Parse(TestClusters.LlamaShape);
        long bytes = model.WeightBytes(new LayerRange(0, 32), true, true);

        // 8.03 billion parameters at 4.83 bits are 4.85 GB; the published Q4_K_M file has 4.92 GB.
        Assert.InRange(bytes, 4.8e9, 4.95e9);
        Assert.Equal(131_072, model.KvBytesPerToken);
        Assert.True(model.HasUniformLayers);
    }

    [Theory]
    [InlineData("layerCount", "0")]
    [InlineData("hiddenSize", "-1")]
    [InlineData("headCount", "2.5")]
    [InlineData("kvHeadCount", "64")]
    [InlineData("kvElementType", "\"F17\"")]
    [InlineData("weightBitsPerWeight", "0")]
    [InlineData("expertUsedCount", "3")]
    [InlineData("contextLength", "99999999999")]
    public void Parse_SenselessShape_IsRejected(string property, string value)
    {
        string json = System.Text.RegularExpressions.Regex.Replace(TestClusters.LlamaShape, $"\"{property}\": [^,}}]+", $"\"{property}\": {value} ");
        Assert.NotEqual(TestClusters.LlamaShape, json);
        Assert.Throws<DescriptionFormatException>(() => ModelCost.Parse(json));
    }

    [Fact]
    public void MeasuredProfile_BetweenPoints_IsLinear()
    {
        var profile = new MeasuredProfile
        {
            Prefill = [new PrefillPoint(100, 0, 1), new PrefillPoint(200, 0, 2), new PrefillPoint(100, 1000, 3), new PrefillPoint(200, 1000, 6)],
            Decode = [new DecodePoint(1, 0, 1), new DecodePoint(4, 0, 1.3)],
        };
        Assert.Equal(1, profile.PrefillSeconds(50, 0));
        Assert.Equal(1.5, profile.PrefillSeconds(150, 0), 12);
        Assert.Equal(3.0, profile.PrefillSeconds(150, 500), 12);
        Assert.Equal(3, profile.PrefillSeconds(300, 0), 12);
        Assert.Equal(10, profile.PrefillSeconds(200, 2000), 12);
        Assert.Equal(1.1, profile.DecodeSeconds(2, 700), 12);
        Assert.Equal(1.7, profile.DecodeSeconds(8, 0), 12);
    }

    [Fact]
    public void Profile_WhereGiven_TakesThePlaceOfTheRoofline()
    {
        DeviceProfile measured = Device with
        {
            Profile = new MeasuredProfile { Prefill = [new PrefillPoint(10, 0, 7)], Decode = [new DecodePoint(1, 0, 3)], HeadSeconds = 2, EmbeddingSeconds = 1 },
        };
        Assert.Equal(0.5 + 7 + 7 + 2 + 1, StageCost.PrefillSeconds(measured, Tiny, new LayerRange(0, 2), true, true, 10, 0), 12);
        Assert.Equal(0.5 + 3, StageCost.DecodeSeconds(measured, Tiny, new LayerRange(0, 1), false, false, 1, 50), 12);

        // The embedding was measured for ten tokens: one token takes a tenth of it.
        Assert.Equal(0.5 + 3 + 0.1, StageCost.DecodeSeconds(measured, Tiny, new LayerRange(0, 1), true, false, 1, 50), 12);
    }

    [Fact]
    public void Profile_OfOneHeadRow_ScalesMoreRowsAsTheLayersRows()
    {
        DeviceProfile measured = Device with
        {
            Profile = new MeasuredProfile { Prefill = [new PrefillPoint(10, 0, 7)], Decode = [new DecodePoint(1, 0, 2), new DecodePoint(4, 0, 3)], HeadSeconds = 10 },
        };
        Assert.Equal([10.0, 10, 10 * 2.5 / 2, 15, 10 * 5.0 / 2], ((double[])[0, 1, 2.5, 4, 10]).Select(rows => StageCost.HeadSeconds(measured, Tiny, rows)));
        Assert.Equal(0.5 + 3 + 15, StageCost.DecodeSeconds(measured, Tiny, new LayerRange(0, 1), false, true, 4, 0), 12);

        // A profile without times of layers says nothing of rows.
        Assert.Equal(10, StageCost.HeadSeconds(measured with { Profile = measured.Profile with { Decode = [new DecodePoint(1, 0, 0)] } }, Tiny, 4));
    }
}
