using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>The packed tool, installed from a folder as a user would from a registry.</summary>
public sealed class ToolPackageTests
{
    [Fact]
    public async Task Tool_InstalledFromItsPackage_HelpsAndGenerates()
    {
        using PackageFeed feed = await PackageFeed.PackAsync("samples/E2LLM.Tool");
        string tools = Path.Combine(feed.Folder, "tools");
        await File.WriteAllTextAsync(Path.Combine(feed.Folder, "nuget.config"), """
            <configuration><packageSources><clear /><add key="packed" value="feed" /></packageSources></configuration>
            """);
        (await SampleRun.OfProgram(
            "dotnet", ["tool", "install", "E2LLM.Tool", "--version", feed.Version, "--tool-path", tools, "--configfile", Path.Combine(feed.Folder, "nuget.config")],
            feed.Folder, feed.Environment)).Succeeded();

        string program = Path.Combine(tools, OperatingSystem.IsWindows() ? "e2llm.exe" : "e2llm");
        SampleRun help = (await SampleRun.OfProgram(program, ["--help"])).Succeeded();
        Assert.Contains("e2llm generate --model M.gguf", help.Out, StringComparison.Ordinal);

        SampleRun text = (await SampleRun.OfProgram(program, ["generate", "--model", ToolRun.Q8Model, "--prompt", "Once upon a time", "--max-tokens", "20"])).Succeeded();
        Assert.Equal((await ToolRun.Of("generate", "--model", ToolRun.Q8Model, "--prompt", "Once upon a time", "--max-tokens", "20")).Out, text.Out);
        Assert.Equal(1, (await SampleRun.OfProgram(program, ["inspect", "--model", Repository.PathOf("LICENSE")])).ExitCode);
    }
}
