using System.Text.Json;
using E2LLM.Deployment;
using E2LLM.Gguf;
using E2LLM.Tests.Support;
using E2LLM.Tokenization;

namespace E2LLM.Tests.Samples;

/// <summary>The commands that run a model, on the embedded one, against its golden file (an independent implementation's).</summary>
public sealed class ToolModelTests
{
    private static readonly JsonElement[] GoldenCases = [.. JsonDocument
        .Parse(File.ReadAllText(Repository.PathOf("samples/models/golden.json"))).RootElement.GetProperty("cases").EnumerateArray()];

    [Fact]
    public async Task Tokenize_GoldenPrompts_GiveTheGoldenIds()
    {
        string lines = string.Concat(GoldenCases.Select(golden => JsonSerializer.Serialize(golden.GetProperty("prompt").GetString()) + "\n"));
        ToolRun run = await ToolRun.WithInput(lines, "tokenize", "--model", ToolRun.F32Model, "--jsonl");
        Assert.Equal(0, run.ExitCode);
        Assert.Equal(
            GoldenCases.Select(golden => JsonSerializer.Serialize(Ints(golden, "prompt_ids"))),
            run.Out.TrimEnd('\n').Split('\n'));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(13)]
    public async Task Generate_GoldenPrompt_GivesTheGoldenIdsAndText(int index)
    {
        JsonElement golden = GoldenCases[index];
        JsonElement json = (await ToolRun.Of(
            "generate", "--model", ToolRun.F32Model, "--prompt", golden.GetProperty("prompt").GetString()!, "--max-tokens", "60", "--threads", "2", "--json")).Json;
        int count = Math.Min(60, golden.GetProperty("safe_tokens").GetInt32());
        Assert.True(count >= 20, "the case says too little");
        Assert.Equal(Ints(golden, "prompt_ids"), Ints(json, "promptIds"));
        Assert.Equal(Ints(golden, "ids").Take(count), Ints(json, "ids").Take(count));
        Assert.True(json.GetProperty("prefillSeconds").GetDouble() > 0);
        Assert.True(json.GetProperty("decodeSeconds").GetDouble() > 0);
    }

    [Fact]
    public async Task Generate_WithoutJson_StreamsTheSameText()
    {
        string[] call = ["generate", "--model", ToolRun.Q8Model, "--prompt", "One day", "--max-tokens", "12", "--temperature", "0.9", "--seed", "5"];
        ToolRun plain = await ToolRun.Of(call);
        JsonElement json = (await ToolRun.Of([.. call, "--json"])).Json;
        Assert.Equal(json.GetProperty("text").GetString() + "\n", plain.Out);

        // Prompt and answer together are the text, without a space more or less between them.
        using GgufFile file = GgufFile.Open(ToolRun.Q8Model);
        string whole = TokenizerLoader.Load(file.Metadata).Decode([.. Ints(json, "promptIds"), .. Ints(json, "ids")]);
        Assert.Equal(whole, "One day" + json.GetProperty("text").GetString());
        Assert.StartsWith(" a time", (await ToolRun.Of("generate", "--model", ToolRun.Q8Model, "--prompt", "Once upon", "--max-tokens", "4")).Out, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("3")]
    [InlineData("1,2,3,4,5")]
    public async Task Logits_LayersCutAnywhere_AreTheSameBits(string split)
    {
        string[] call = ["logits", "--model", ToolRun.Q8Model, "--ids", "1,492,480,261,423", "--all", "--top", "2048", "--json"];
        ToolRun whole = await ToolRun.Of(call), cut = await ToolRun.Of([.. call, "--split", split]);
        Assert.Equal(5, whole.Json.GetProperty("positions").GetArrayLength());
        Assert.Equal(whole.Out, cut.Out);
    }

    [Fact]
    public async Task Logits_LastPosition_EqualsTheLastOfAllAndTheRawRows()
    {
        string raw = Path.GetTempFileName();
        try
        {
            string[] call = ["logits", "--model", ToolRun.F32Model, "--ids", "1,492,480", "--top", "3", "--json"];
            JsonElement last = (await ToolRun.Of(call)).Json, all = (await ToolRun.Of([.. call, "--all", "--raw", raw])).Json;
            Assert.Equal(last.GetProperty("top").GetRawText(), all.GetProperty("positions")[2].GetProperty("top").GetRawText());
            byte[] rows = await File.ReadAllBytesAsync(raw);
            Assert.Equal(3 * 2048 * sizeof(float), rows.Length);
            JsonElement best = last.GetProperty("top")[0];
            Assert.Equal(
                best.GetProperty("logit").GetSingle(), BitConverter.ToSingle(rows, ((2 * 2048) + best.GetProperty("id").GetInt32()) * sizeof(float)));
        }
        finally
        {
            File.Delete(raw);
        }
    }

    [Fact]
    public async Task Detokenize_Ids_GivesTheText()
    {
        JsonElement json = (await ToolRun.Of("detokenize", "--model", ToolRun.Q8Model, "--ids", "1,492,480,261,423", "--json")).Json;
        Assert.Equal("""{"text":"Once upon a time"}""", json.GetRawText());
    }

    [Fact]
    public async Task Bench_ShortRun_GivesPositiveFigures()
    {
        JsonElement json = (await ToolRun.Of(
            "bench", "--model", ToolRun.Q8Model, "--prompt-tokens", "16", "--generate-tokens", "4", "--depth", "3", "--batch", "2", "--repeat", "1", "--json")).Json;
        foreach (string name in new[] { "prefillTokensPerSecond", "decodeTokensPerSecond", "loadSeconds", "residentBytes" })
        {
            Assert.True(json.GetProperty(name).GetDouble() > 0, name);
        }
    }

    [Fact]
    public async Task Perplexity_GoldenText_AgreesWithItsOwnGeneration()
    {
        // Greedy text must be more likely to the model than the same words shuffled.
        string file = Path.GetTempFileName();
        try
        {
            async Task<double> Of(string text)
            {
                await File.WriteAllTextAsync(file, text);
                return (await ToolRun.Of("perplexity", "--model", ToolRun.Q8Model, "--file", file, "--json")).Json.GetProperty("perplexity").GetDouble();
            }

            string greedy = GoldenCases[0].GetProperty("text").GetString()!;
            string[] words = greedy.Split(' ');
            Array.Reverse(words);
            Assert.InRange(await Of(greedy), 1.0, (await Of(string.Join(' ', words))) / 4);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public async Task Logits_PromptLongerThanTheContext_ExitsWith1()
    {
        ToolRun run = await ToolRun.Of("logits", "--model", ToolRun.Q8Model, "--ids", string.Join(',', Enumerable.Repeat(5, 513)), "--json");
        Assert.Equal((1, ""), (run.ExitCode, run.Out));
        Assert.Contains("512", run.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--ids", "1,x")]
    [InlineData("--ids", "1,-2")]
    [InlineData("--ids", "1", "--threads", "0")]
    [InlineData("--ids", "1", "--kv", "F64")]
    [InlineData("--ids", "1", "--top", "ten")]
    public async Task Logits_WrongOption_ExitsWith2(params string[] options)
    {
        ToolRun run = await ToolRun.Of(["logits", "--model", ToolRun.Q8Model, .. options]);
        Assert.Equal((2, ""), (run.ExitCode, run.Out));
    }

    [Fact]
    public async Task Plan_SampleCluster_WritesThePlanThatItPrints()
    {
        string output = Path.GetTempFileName();
        try
        {
            ToolRun run = await ToolRun.Of(
                "plan", "--cluster", Repository.PathOf("samples/EdgeCluster/cluster.json"), "--model", ToolRun.Q8Model,
                "--workload", Repository.PathOf("samples/EdgeCluster/workload.json"), "--seed", "7", "--out", output, "--json");
            DeploymentPlan plan = DeploymentPlan.Parse(run.Json.GetRawText());
            Assert.Equal(7ul, plan.Seed);
            Assert.NotEmpty(plan.Replicas);
            Assert.Equal(run.Out, await File.ReadAllTextAsync(output));
        }
        finally
        {
            File.Delete(output);
        }
    }

    [Fact]
    public async Task Plan_ModelTooLargeForTheCluster_ExitsWith1AndNamesTheConstraint()
    {
        ToolRun run = await ToolRun.Of(
            "plan", "--cluster", Repository.PathOf("samples/EdgeCluster/cluster.json"), "--model", Repository.PathOf("samples/EdgeCluster/model-8b.json"),
            "--workload", Repository.PathOf("samples/EdgeCluster/workload.json"), "--json");
        Assert.Equal(1, run.ExitCode);
        using JsonDocument json = JsonDocument.Parse(run.Out);
        Assert.Equal("memory", json.RootElement.GetProperty("infeasible").GetProperty("constraint").GetString());
    }

    private static int[] Ints(JsonElement json, string name) => [.. json.GetProperty(name).EnumerateArray().Select(id => id.GetInt32())];
}
