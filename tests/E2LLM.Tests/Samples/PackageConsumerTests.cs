using System.Runtime.InteropServices;
using E2LLM.Generation;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>
/// A stranger's console project, outside the repository, that knows the packages only: the README's examples compile, run, and still run when everything
/// unused was trimmed away.
/// </summary>
public sealed class PackageConsumerTests
{
    private const string Project = """
        <Project Sdk="Microsoft.NET.Sdk">
          <PropertyGroup>
            <OutputType>Exe</OutputType>
            <TargetFramework>net10.0</TargetFramework>
            <ImplicitUsings>enable</ImplicitUsings>
            <Nullable>enable</Nullable>
            <InvariantGlobalization>true</InvariantGlobalization>
            <TrimMode>full</TrimMode>
            <TreatWarningsAsErrors>true</TreatWarningsAsErrors>
            <WarningsNotAsErrors>NU1900</WarningsNotAsErrors>
            <TrimmerSingleWarn>false</TrimmerSingleWarn>
          </PropertyGroup>
          <ItemGroup>
            <PackageReference Include="E2LLM.Extensions.AI" Version="VERSION" />
            <PackageReference Include="E2LLM" Version="VERSION" />
          </ItemGroup>
        </Project>
        """;

    private const string Program = """
        using E2LLM.Extensions.AI;
        using E2LLM.Generation;
        using E2LLM.Samples.Snippets;
        using Microsoft.Extensions.AI;

        await GenerateText.RunAsync(args[0], Console.Out);
        Console.WriteLine("\n---");
        await ServePlan.RunAsync(args[0], Console.Out);
        Console.WriteLine("\n---");
        PlanCluster.Run(args[1], args[2], args[3], Console.Out);
        Console.WriteLine("\n---");
        using TextGenerator generator = TextGenerator.Load(args[0]);
        using IChatClient client = new E2LLMChatClient(generator);
        await foreach (ChatResponseUpdate update in client.GetStreamingResponseAsync("Tom had a red ball.", new ChatOptions { MaxOutputTokens = 20, Temperature = 0 }))
        {
            Console.Write(update.Text);
        }

        """;

    private static readonly string[] Arguments =
    [
        ToolRun.Q8Model, Repository.PathOf("samples/EdgeCluster/cluster-real.json"), Repository.PathOf("samples/EdgeCluster/model-8b.json"),
        Repository.PathOf("samples/EdgeCluster/workload-real.json"),
    ];

    [Fact]
    public async Task Packages_InAFreshProject_RunTheReadmesExamplesAlsoTrimmed()
    {
        using PackageFeed feed = await PackageFeed.PackAsync("src/E2LLM", "src/E2LLM.Extensions.AI");
        string folder = Path.Combine(feed.Folder, "Consumer");
        await WriteProjectAsync(folder, feed.Version);
        string source = $"-p:RestoreAdditionalProjectSources={Path.Combine(feed.Folder, "feed")}";
        if (await feed.AskRegistryAsync(folder, "restore", source) is { } missing)
        {
            Console.WriteLine($"skipped: {missing}");
            return;
        }

        (await SampleRun.OfProgram("dotnet", ["build", "-c", "Release", "--no-restore", "-v", "q"], folder, feed.Environment)).Succeeded();
        SampleRun run = (await SampleRun.OfProgram("dotnet", [Path.Combine(folder, "bin/Release/net10.0/Consumer.dll"), .. Arguments])).Succeeded();
        await CheckAsync(run.Out);

        string[] trimming = ["-r", RuntimeInformation.RuntimeIdentifier, "-p:SelfContained=true", "-p:PublishTrimmed=true"];
        if (await feed.AskRegistryAsync(folder, ["restore", source, .. trimming]) is { } absent)
        {
            Console.WriteLine($"skipped the trimmed run: {absent}");
            return;
        }

        (await SampleRun.OfProgram(
            "dotnet", ["publish", "-c", "Release", "--no-restore", .. trimming, "-v", "q", "-o", Path.Combine(folder, "trimmed")], folder, feed.Environment)).Succeeded();
        SampleRun trimmed = (await SampleRun.OfProgram(Path.Combine(folder, "trimmed", OperatingSystem.IsWindows() ? "Consumer.exe" : "Consumer"), Arguments)).Succeeded();
        Assert.Equal(run.Out, trimmed.Out);
        Assert.False(File.Exists(Path.Combine(folder, "trimmed", "System.Private.Xml.dll")), "nothing was trimmed");
    }

    [Fact]
    public async Task Packages_InAProjectFromTheWebTemplate_StreamAnAnswer()
    {
        // What the README tells a newcomer to do, step by step.
        using PackageFeed feed = await PackageFeed.PackAsync("src/E2LLM", "src/E2LLM.Extensions.AI");
        string folder = Path.Combine(feed.Folder, "App");
        (await SampleRun.OfProgram("dotnet", ["new", "web", "-o", folder, "--no-restore"], feed.Folder, feed.Environment)).Succeeded();
        await File.WriteAllTextAsync(Path.Combine(folder, "nuget.config"), """
            <configuration><packageSources><add key="packed" value="../feed" /></packageSources></configuration>
            """);
        if (await feed.AskRegistryAsync(folder, "add", "package", "E2LLM.Extensions.AI", "--version", feed.Version) is { } missing)
        {
            Console.WriteLine($"skipped: {missing}");
            return;
        }

        File.Copy(Repository.PathOf("samples/WebSnippet/Program.cs"), Path.Combine(folder, "Program.cs"), overwrite: true);
        (await SampleRun.OfProgram("dotnet", ["build", "--no-restore", "-v", "q"], folder, feed.Environment)).Succeeded();
        string program = Path.Combine(folder, "bin/Debug/net10.0/App.dll");
        SampleRun withoutModel = await SampleRun.OfProgram("dotnet", [program, "--urls", "http://127.0.0.1:0", "--Model", "nowhere.gguf"], folder);
        Assert.NotEqual(0, withoutModel.ExitCode);
        Assert.Contains("ModelPath names no file", withoutModel.Out + withoutModel.Error, StringComparison.Ordinal);

        await using ChatService app = await ChatService.StartAsync([program, "--Model", ToolRun.Q8Model], "/ask?text=Hello");
        string events = await app.Http.GetStringAsync(new Uri("/ask?text=Once%20upon%20a%20time", UriKind.Relative));
        string[] pieces = [.. events.Split("\n\n", StringSplitOptions.RemoveEmptyEntries).Select(piece => piece["data: ".Length..])];
        Assert.True(pieces.Length > 20, events);
        using TextGenerator alone = TextGenerator.Load(ToolRun.Q8Model);
        var expected = new List<string>();
        await foreach (GeneratedToken token in alone.GenerateAsync("Once upon a time", new GenerationOptions { MaxTokenCount = 10 }))
        {
            expected.Add(token.Text);
        }

        Assert.Equal(expected[..9], pieces[..9]);
    }

    private static async Task WriteProjectAsync(string folder, string version)
    {
        Directory.CreateDirectory(folder);
        await File.WriteAllTextAsync(Path.Combine(folder, "Consumer.csproj"), Project.Replace("VERSION", version, StringComparison.Ordinal));
        await File.WriteAllTextAsync(Path.Combine(folder, "Program.cs"), Program);
        foreach (string snippet in Repository.Files("samples/Snippets", "*.cs").Where(file => Path.GetFileName(file) != "Program.cs"))
        {
            File.Copy(snippet, Path.Combine(folder, Path.GetFileName(snippet)));
        }
    }

    private static async Task CheckAsync(string output)
    {
        string[] parts = output.Split("\n---\n");
        Assert.Equal(4, parts.Length);
        using TextGenerator generator = TextGenerator.Load(ToolRun.Q8Model);
        string expected = "";
        await foreach (GeneratedToken token in generator.GenerateAsync("Once upon a time"))
        {
            expected += token.Text;
        }

        Assert.Equal(expected, parts[0]);
        Assert.StartsWith(parts[1], parts[0], StringComparison.Ordinal);
        Assert.Contains("mean waiting time in simulation: ", parts[2], StringComparison.Ordinal);
        Assert.True(parts[3].Length > 20, parts[3]);
    }
}
