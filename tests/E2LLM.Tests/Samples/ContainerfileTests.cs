using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>
/// The container file of the stage worker, instruction by instruction, without a container engine: what it runs is run here, in a folder that stands for the
/// image. What only an engine can tell, that the base images can be fetched and that their layers fit, is not tested.
/// </summary>
public sealed class ContainerfileTests
{
    private static readonly (string Name, string Words)[] Instructions = [.. File.ReadLines(Repository.PathOf("samples/07-StageWorker/Containerfile"))
        .Where(line => line.Length > 0 && line[0] != '#').Select(line => (line[..line.IndexOf(' ', StringComparison.Ordinal)], line[(line.IndexOf(' ', StringComparison.Ordinal) + 1)..]))];

    [Fact]
    public void Instructions_InOrder_BuildWithTheSdkAndRunUnprivilegedWithoutIt()
    {
        Assert.Equal(
            ["FROM", "WORKDIR", "COPY", "RUN", "FROM", "COPY", "USER", "WORKDIR", "EXPOSE", "ENV", "ENTRYPOINT"], Instructions.Select(instruction => instruction.Name));
        Assert.Equal(
            ["mcr.microsoft.com/dotnet/sdk:10.0 AS build", "mcr.microsoft.com/dotnet/runtime:10.0"], All("FROM"));

        // The tag is the framework that the projects are built for, and the runtime image has no ASP.NET Core: the sample must need none.
        Assert.Contains("<TargetFramework>net10.0<", File.ReadAllText(Repository.PathOf("src/Directory.Build.props")), StringComparison.Ordinal);
        string runtime = File.ReadAllText(Path.ChangeExtension(SampleRun.Assembly("07-StageWorker"), ".runtimeconfig.json"));
        Assert.DoesNotContain("AspNetCore", runtime, StringComparison.Ordinal);
        Assert.Equal(["$APP_UID"], All("USER"));
        Assert.Equal([". .", "--from=build /app /app"], All("COPY"));
    }

    [Fact]
    public async Task RunAndEntrypoint_AsWritten_PublishAProgramThatChecksItsSettings()
    {
        using var image = new TemporaryFolder();
        string[] publish = Assert.Single(All("RUN")).Split(' ');
        Assert.Equal(["-o", "/app"], publish[^2..]);
        string app = image.In("app");
        (await SampleRun.OfProgram(publish[0], [.. publish[1..^1], app, "--no-build"], Repository.Root)).Succeeded();

        Dictionary<string, string?> environment = Assert.Single(All("ENV")).Split(' ').ToDictionary(pair => pair.Split('=')[0], pair => (string?)pair.Split('=')[1]);
        string[] entry = System.Text.Json.JsonDocument.Parse(Assert.Single(All("ENTRYPOINT"))).RootElement.EnumerateArray().Select(word => word.GetString()!).ToArray();
        Assert.Equal("/app", All("WORKDIR")[^1]);
        SampleRun run = await SampleRun.OfProgram(entry[0], [.. entry[1..], "--Stage:Peers:other=host"], app, environment);
        Assert.Equal(2, run.ExitCode);
        Assert.Contains("Stage:Name is required", run.Error, StringComparison.Ordinal);

        // The address that it listens on is the one that is exposed, and is right.
        Assert.DoesNotContain("Stage:Listen", run.Error, StringComparison.Ordinal);
        Assert.EndsWith($":{Assert.Single(All("EXPOSE"))}", environment["Stage__Listen"], StringComparison.Ordinal);
    }

    private static string[] All(string name) => [.. Instructions.Where(instruction => instruction.Name == name).Select(instruction => instruction.Words)];
}
