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
    public async Task Packages_InProjectsFromTheTemplates_DoWhatTheReadmesSay()
    {
        using PackageFeed feed = await PackageFeed.PackAsync("src/E2LLM", "src/E2LLM.Extensions.AI");
        if (await FromTemplateAsync(feed, "console", "E2LLM") is not { } console)
        {
            return;
        }

        (_, string expected) = await AloneAsync();
        Assert.Equal(expected, (await SampleRun.OfProgram("dotnet", [console, ToolRun.Q8Model])).Succeeded().Out);
        if (await FromTemplateAsync(feed, "worker", "E2LLM.Extensions.AI") is { } worker)
        {
            SampleRun run = (await SampleRun.OfProgram("dotnet", [worker, "--Model", ToolRun.Q8Model, "--Logging:LogLevel:Default=Warning"])).Succeeded();
            Assert.StartsWith(expected, run.Out, StringComparison.Ordinal);
        }

        if (await FromTemplateAsync(feed, "web", "E2LLM.Extensions.AI") is { } web)
        {
            await StreamsAnAnswerAsync(web);
        }
    }

    private static async Task StreamsAnAnswerAsync(string program)
    {
        SampleRun withoutModel = await SampleRun.OfProgram("dotnet", [program, "--urls", "http://127.0.0.1:0", "--Model", "nowhere.gguf"]);
        Assert.NotEqual(0, withoutModel.ExitCode);
        Assert.Contains("ModelPath names no file", withoutModel.Out + withoutModel.Error, StringComparison.Ordinal);

        await using ChatService app = await ChatService.StartAsync([program, "--Model", ToolRun.Q8Model], "/ask?text=Hello");
        string events = await app.Http.GetStringAsync(new Uri("/ask?text=Once%20upon%20a%20time", UriKind.Relative));
        string[] pieces = [.. events.Split("\n\n", StringSplitOptions.RemoveEmptyEntries).Select(piece => piece["data: ".Length..])];
        Assert.True(pieces.Length > 20, events);
        Assert.Equal((await AloneAsync()).Pieces[..9], pieces[..9]);
    }

    /// <summary>
    /// What a newcomer is told to do, step by step: a project from a template, the package, and the sample's files as they stand. The program; null, with a reason on
    /// the console, where no package source answers.
    /// </summary>
    private static async Task<string?> FromTemplateAsync(PackageFeed feed, string template, string package)
    {
        string name = $"{char.ToUpperInvariant(template[0])}{template[1..]}", folder = Path.Combine(feed.Folder, name);
        (await SampleRun.OfProgram("dotnet", ["new", template, "-o", folder, "--no-restore"], feed.Folder, feed.Environment)).Succeeded();
        await File.WriteAllTextAsync(Path.Combine(folder, "nuget.config"), """
            <configuration><packageSources><add key="packed" value="../feed" /></packageSources></configuration>
            """);
        if (await feed.AskRegistryAsync(folder, "add", "package", package, "--version", feed.Version) is { } missing)
        {
            Console.WriteLine($"skipped the {template} project: {missing}");
            return null;
        }

        foreach (string file in Repository.Files($"samples/{name}Snippet", "*.cs").Where(file => Path.GetFileName(file) is "Program.cs" or "Worker.cs"))
        {
            File.Copy(file, Path.Combine(folder, Path.GetFileName(file)), overwrite: true);
        }

        (await SampleRun.OfProgram("dotnet", ["build", "--no-restore", "-v", "q"], folder, feed.Environment)).Succeeded();
        return Path.Combine(folder, $"bin/Debug/net10.0/{name}.dll");
    }

    /// <summary>What the model writes of itself, in pieces and as a whole.</summary>
    private static async Task<(string[] Pieces, string Text)> AloneAsync()
    {
        using TextGenerator generator = TextGenerator.Load(ToolRun.Q8Model);
        var pieces = new List<string>();
        await foreach (GeneratedToken token in generator.GenerateAsync("Once upon a time"))
        {
            pieces.Add(token.Text);
        }

        return ([.. pieces], string.Concat(pieces));
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
        Assert.Equal((await AloneAsync()).Text, parts[0]);
        Assert.StartsWith(parts[1], parts[0], StringComparison.Ordinal);
        Assert.Contains("mean waiting time in simulation: ", parts[2], StringComparison.Ordinal);
        Assert.True(parts[3].Length > 20, parts[3]);
    }
}
