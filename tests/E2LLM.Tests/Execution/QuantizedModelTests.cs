using System.Text.Json;
using E2LLM.Gguf;
using E2LLM.Tests.Kernels;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Execution;

/// <summary>The quantised files of our own model against gguf-py's dequantisation, numpy's float reference and llama.cpp's ids.</summary>
public sealed class QuantizedModelTests
{
    public static TheoryData<string, string> Files => new()
    {
        { "Q4_0", "q4_0" }, { "Q4_K_M", "q4_k_m" }, { "Q5_K_M", "q5_k_m" }, { "Q6_K", "q6_k" }, { "Q8_0", "q8_0" },
    };

    [Theory]
    [MemberData(nameof(Files))]
    public void Dequantize_EveryTensor_EqualsGoldenChecksums(string section, string file)
    {
        if (Golden(section, file) is not var (golden, path))
        {
            return;
        }

        using GgufFile gguf = GgufFile.Open(path);
        int checkedTensors = 0;
        foreach (JsonProperty entry in golden.GetProperty("tensors").EnumerateObject())
        {
            Assert.True(gguf.TryGetTensor(entry.Name, out GgufTensor? tensor));
            using GgufTensorView view = gguf.OpenTensor(tensor);
            float[] values = QuantizedData.Dequantize(tensor.Type, view.Rows(0, (int)tensor.RowCount).ToArray(), (int)tensor.RowLength);
            double sum = 0, squares = 0;
            foreach (float value in values)
            {
                sum += value;
                squares += (double)value * value;
            }

            Assert.Equal(entry.Value.GetProperty("sum").GetDouble(), sum, 1e-7 * Math.Max(1, Math.Abs(sum)));
            Assert.Equal(entry.Value.GetProperty("l2").GetDouble(), Math.Sqrt(squares), 1e-9 * Math.Sqrt(squares));
            int i = 0;
            foreach (JsonElement first in entry.Value.GetProperty("first8").EnumerateArray())
            {
                Assert.Equal((float)first.GetDouble(), values[i++]);
            }

            checkedTensors++;
        }

        Assert.True(checkedTensors > 50);
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void Greedy_QuantizedFile_FollowsReferenceToNearTies(string section, string file)
    {
        if (Golden(section, file) is not var (golden, path))
        {
            return;
        }

        using var model = new TestModel(path);
        int compared = 0;
        foreach (JsonElement item in golden.GetProperty("cases").EnumerateArray())
        {
            int[] ids = [.. item.GetProperty("ref_ids").EnumerateArray().Select(id => id.GetInt32())];
            double[] margins = [.. item.GetProperty("ref_margins").EnumerateArray().Select(margin => margin.GetDouble())];

            // Eight-bit activations move logits by a few hundredths here; past a margin that small the two may part.
            int safe = margins.TakeWhile(margin => margin >= 0.3).Count();
            int[] prompt = [.. item.GetProperty("prompt_ids").EnumerateArray().Select(id => id.GetInt32())];
            if (safe > 0)
            {
                Assert.Equal(ids.Take(safe), model.Greedy(prompt, safe, 2));
            }

            compared += safe;
        }

        Assert.True(compared > 20, $"only {compared} ids compared");
    }

    private static (JsonElement Golden, string Path)? Golden(string section, string file)
    {
        string json = Path.Combine(Repository.PathOf("samples/models"), "golden_quants.json");
        JsonElement quants = JsonDocument.Parse(File.ReadAllText(json)).RootElement.GetProperty("quants");
        string? path = file == "q8_0" ? TestModel.OwnModel(file) : SharedData.Find($"models/own/tinytales-3.9m-{file}.gguf");
        return path is not null && quants.TryGetProperty(section, out JsonElement golden) ? (golden, path) : null;
    }
}
