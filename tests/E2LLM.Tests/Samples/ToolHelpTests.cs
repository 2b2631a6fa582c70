using System.CommandLine;
using System.Text.RegularExpressions;
using E2LLM.Tests.Support;
using E2LLM.Tool.CommandLine;

namespace E2LLM.Tests.Samples;

/// <summary>The help shows calls that work, and progress is for people at terminals.</summary>
public sealed partial class ToolHelpTests
{
    private static readonly RootCommand Root = ToolCommandLine.Create(new ToolConsole(TextReader.Null, TextWriter.Null, TextWriter.Null));

    [Fact]
    public async Task Help_EveryCommand_ShowsExamplesThatParse()
    {
        string[] commands = [.. Root.Subcommands.Select(command => command.Name)];
        Assert.Equal(commands.Append("e2llm").Order(StringComparer.Ordinal), HelpText.Documented.Order(StringComparer.Ordinal));
        int examples = 0;
        foreach (string[] call in commands.Select(name => new[] { name, "--help" }).Prepend(["--help"]))
        {
            ToolRun run = await ToolRun.Of(call);
            Assert.True(run.ExitCode == 0, run.Error);
            Assert.DoesNotContain("[default:", run.Out, StringComparison.Ordinal);

            // On a terminal of 100 columns half of a line is left for what an option does.
            Assert.All(OptionName().Matches(run.Out), name => Assert.True(name.Length < 50, name.Value));
            foreach (Match example in Example().Matches(run.Out))
            {
                examples++;
                string[] args = [.. Argument().Matches(example.Groups["call"].Value).Select(match => match.Value.Trim('"'))];
                Assert.True(Root.Parse(args).Errors.Count == 0, example.Value);
            }
        }

        Assert.True(examples >= commands.Length, $"{examples} examples");
    }

    [Fact]
    public async Task Help_OfPlan_ShowsDescriptionsThatCanBePlanned()
    {
        string help = (await ToolRun.Of("plan", "--help")).Out;
        Match descriptions = Descriptions().Match(help);
        Assert.True(descriptions.Success, help);
        using var folder = new TemporaryFolder();
        await File.WriteAllTextAsync(folder.In("C.json"), descriptions.Groups["cluster"].Value);
        await File.WriteAllTextAsync(folder.In("W.json"), descriptions.Groups["workload"].Value);
        ToolRun run = await ToolRun.Of("plan", "--cluster", folder.In("C.json"), "--model", ToolRun.Q8Model, "--workload", folder.In("W.json"));
        Assert.True(run.ExitCode == 0, run.Error);
    }

    [Fact]
    public async Task Progress_NoTerminal_IsSilent()
    {
        ToolRun run = await ToolRun.Of("perplexity", "--model", ToolRun.Q8Model, "--file", Repository.PathOf("LICENSE"), "--window", "64");
        Assert.Equal((0, ""), (run.ExitCode, run.Error));
        Assert.NotEqual("", run.Out);
    }

    [Fact]
    public void Bar_OnATerminal_IsOneLineThatIsWipedAtTheEnd()
    {
        using var error = new StringWriter();
        using (var bar = new ProgressBar(error, columns: 40, new ManualTime()))
        {
            bar.Report(0, 4, "reading");
            bar.Report(1, 4, "reading");
            bar.Report(2, 4, "writing", ", 12 pieces of a text that is wider than the terminal");
            bar.Report(4, 4, "writing");
        }

        string[] states = error.ToString().Split('\r', StringSplitOptions.RemoveEmptyEntries);

        // The second report came within the pause and is not drawn.
        Assert.Equal("[.............]   0 %  reading", states[0]);
        Assert.StartsWith("[######.......]  50 %  writing, 12 pie", states[1], StringComparison.Ordinal);
        Assert.StartsWith("[#############] 100 %  writing ", states[2], StringComparison.Ordinal);
        Assert.Equal("", states[3].Trim());
        Assert.Equal(4, states.Length);
        Assert.All(states, state => Assert.True(state.Length < 40));
        Assert.DoesNotContain('\n', error.ToString());
    }

    [GeneratedRegex(@"^  C\.json: (?<cluster>.*?)^  W\.json: (?<workload>.*)", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Descriptions();

    [GeneratedRegex(@"^  e2llm (?<call>[^\[\n]*?)(?: {2,}.*| \|.*)?$", RegexOptions.Multiline)]
    private static partial Regex Example();

    [GeneratedRegex(@"^  -\S.*?  +(?=\S)", RegexOptions.Multiline)]
    private static partial Regex OptionName();

    [GeneratedRegex(@"""[^""]*""|\S+")]
    private static partial Regex Argument();
}
