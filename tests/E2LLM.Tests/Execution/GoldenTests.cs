using System.Runtime.Intrinsics;
using System.Text.Json;
using E2LLM.KvCaching;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Execution;

/// <summary>Ids, logits and likelihoods that an independent implementation (numpy, float32) gave for the embedded model and for stories260K.</summary>
public sealed class GoldenTests
{
    private static readonly JsonElement Golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(Repository.PathOf("samples/models"), "golden.json"))).RootElement;

    [Fact]
    public void Greedy_OwnF32_EqualsGoldenIdsUpToNearTies()
    {
        using var model = new TestModel(TestModel.OwnModel("f32"));

        // Without SIMD a run is ten times slower: a few cases are enough there.
        foreach (JsonElement item in Golden.GetProperty("cases").EnumerateArray().Take(Vector128.IsHardwareAccelerated ? int.MaxValue : 4))
        {
            int[] ids = Ints(item, "ids");
            int safe = Math.Min(item.GetProperty("safe_tokens").GetInt32(), ids.Length);
            List<int> ours = model.Greedy(Ints(item, "prompt_ids"), safe, 2);
            Assert.True(ids.AsSpan(0, safe).SequenceEqual(ours.ToArray()), item.GetProperty("prompt").GetString());
        }
    }

    [Theory]
    [InlineData("f32", null, 1e-3)]
    [InlineData("q8_0", "q8_0", 0.15)]
    public void Logits_FirstStep_EqualsGoldenTop10(string type, string? section, double tolerance)
    {
        using var model = new TestModel(TestModel.OwnModel(type));
        int compared = 0;
        foreach (JsonElement item in Golden.GetProperty("cases").EnumerateArray())
        {
            JsonElement values = item;
            if (section is not null && !item.TryGetProperty(section, out values))
            {
                continue;
            }

            using KvCache sequence = model.Executor.CreateSequence();
            float[] logits = model.Logits(sequence, Ints(item, "prompt_ids"));
            foreach (JsonElement pair in values.GetProperty("first_top10").EnumerateArray())
            {
                Assert.InRange(logits[pair[0].GetInt32()] - pair[1].GetDouble(), -tolerance, tolerance);
                compared++;
            }
        }

        Assert.True(compared >= 100);
    }

    [Theory]
    [InlineData("f32", 1e-4)]
    [InlineData("q8_0", 5e-3)]
    public void Likelihood_HeldOutPassage_EqualsGolden(string type, double tolerance)
    {
        using var model = new TestModel(TestModel.OwnModel(type));
        foreach (JsonElement passage in Golden.GetProperty("nll").EnumerateArray())
        {
            int[] ids = Ints(passage, "ids");
            float[] logits = model.AllLogits(ids);
            double sum = 0;
            for (int i = 1; i < ids.Length; i++)
            {
                ReadOnlySpan<float> row = logits.AsSpan((i - 1) * model.Shape.VocabularySize, model.Shape.VocabularySize);
                double largest = double.NegativeInfinity, total = 0;
                foreach (float logit in row)
                {
                    largest = Math.Max(largest, logit);
                }

                foreach (float logit in row)
                {
                    total += Math.Exp(logit - largest);
                }

                sum += Math.Log(total) + largest - row[ids[i]];
            }

            double golden = passage.GetProperty($"{type}_mean_nll").GetDouble();
            Assert.InRange((sum / (ids.Length - 1) / golden) - 1, -tolerance, tolerance);
        }
    }

    [Theory]
    [InlineData("stories260K-f32.gguf")]
    [InlineData("stories260K-f16.gguf")]
    public void Greedy_Stories260K_EqualsGoldenIds(string name)
    {
        if (SharedData.Find($"models/stories260K/{name}") is not { } path)
        {
            return;
        }

        JsonElement golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(Path.GetDirectoryName(path)!, "golden.json"))).RootElement;
        using var model = new TestModel(path);
        foreach (JsonElement item in golden.GetProperty("cases").EnumerateArray())
        {
            if (name.Contains("f16", StringComparison.Ordinal) && !(item.TryGetProperty("f16_gguf_same_ids", out JsonElement same) && same.GetBoolean()))
            {
                continue;
            }

            int[] ids = Ints(item, "ids");
            List<int> ours = model.Greedy(Ints(item, "prompt_ids"), item.GetProperty("max_tokens").GetInt32(), 1, 2);
            Assert.True(ids.SequenceEqual(ours), item.GetProperty("prompt").GetString());
        }
    }

    private static int[] Ints(JsonElement item, string name) => [.. item.GetProperty(name).EnumerateArray().Select(value => value.GetInt32())];
}
