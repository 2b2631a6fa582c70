using System.Text.Json;

namespace E2LLM.Tests.Samples;

public sealed class ToolUsageTests
{
    [Fact]
    public async Task Inspect_EmbeddedModel_GivesTheDocumentedJson()
    {
        JsonElement json = (await ToolRun.Of("inspect", "--model", ToolRun.Q8Model, "--json")).Json;
        Assert.Equal(
            """{"architecture":"llama","layerCount":6,"hiddenSize":256,"vocabularySize":2048,"contextLength":512,"tensorTypes":{"F32":13,"Q8_0":43},"fileBytes":4170496,"tokenizer":"llama"}""",
            json.GetRawText());
    }

    [Theory]
    [InlineData]
    [InlineData("frobnicate")]
    [InlineData("inspect")]
    [InlineData("inspect", "--model")]
    [InlineData("inspect", "--model", "m.gguf", "--unknown", "1")]
    public async Task Run_WrongUsage_ExitsWith2AndAUsageLine(params string[] args)
    {
        ToolRun run = await ToolRun.Of(args);
        Assert.Equal((2, ""), (run.ExitCode, run.Out));
        Assert.StartsWith("e2llm: ", run.Error, StringComparison.Ordinal);
        Assert.Contains("\nusage: e2llm ", run.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("no-such-file.gguf", "no-such-file.gguf")]
    [InlineData("E2LLM.Tests.dll", "GGUF")]
    public async Task Run_ModelThatCannotBeRead_ExitsWith1AndOneLine(string name, string expected)
    {
        ToolRun run = await ToolRun.Of("inspect", "--model", Path.Combine(AppContext.BaseDirectory, name), "--json");
        Assert.Equal((1, ""), (run.ExitCode, run.Out));
        Assert.Single(run.Error.TrimEnd('\n').Split('\n'));
        Assert.Contains(expected, run.Error, StringComparison.Ordinal);
    }
}
