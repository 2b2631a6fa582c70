using System.Globalization;
using System.Text.RegularExpressions;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Samples.EdgeCluster;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>The main sample as its users run it, shortened, and what its cluster file promises.</summary>
public sealed class EdgeClusterTests
{
    [Fact]
    public void ClusterFile_EmbeddedModel_IsPlannedIntoSeveralReplicasOfSeveralStages()
    {
        Cluster cluster = Cluster.Parse(File.ReadAllText(Repository.PathOf("samples/EdgeCluster/cluster.json")));
        Workload workload = Workload.Parse(File.ReadAllText(Repository.PathOf("samples/EdgeCluster/workload.json")));
        Assert.True(DemoOptions.TryParse([], out DemoOptions? options, out _));
        ModelCost model = Demo.ReadModel(options.ModelPath);
        Assert.Equal(12, cluster.Devices.Count);
        Assert.Equal(12, cluster.Devices.Select(device => device with { Name = "" }).Distinct().Count());
        Assert.True(cluster.Devices.Select(device => device.Name.Split('-')[0]).Distinct().Count() >= 5);
        long whole = model.WeightBytes(new LayerRange(0, model.LayerCount), embedding: true, head: true);
        Assert.All(cluster.Devices, device => Assert.True(device.MemoryBytes < whole, $"{device.Name} holds the model whole"));

        DeploymentPlan plan = Demo.MakePlan(cluster, model, workload, options, CancellationToken.None).Plan!;
        Assert.All(plan.Replicas, replica => Assert.True(replica.Stages.Count >= 2));
        Assert.True(plan.Replicas.Count(replica => replica.Role == ReplicaRole.Prefill) >= 2);
        Assert.True(plan.Replicas.Count(replica => replica.Role == ReplicaRole.Decode) >= 2);
    }

    [Fact]
    public async Task Demo_ShortRun_GivesTheTokensOfASingleProcess()
    {
        (int exitCode, string output) = await RunAsync("--max-tokens", "12", "--seed", "3");
        Assert.True(exitCode == 0, output);
        Assert.Contains("\nSAME: each of the 72 tokens", output, StringComparison.Ordinal);
        Assert.Contains("KV moved", output, StringComparison.Ordinal);

        // What each device holds fits the memory that the cluster gives it.
        Match[] rows = [.. ((IEnumerable<Match>)Regex.Matches(output, @"^  \S+ +([\d.]+) MB  layers .* ([\d.]+) MB +([\d.]+) MB at most", RegexOptions.Multiline))];
        Assert.Equal(12, rows.Length);
        Assert.All(rows, row => Assert.InRange(Number(row, 2) + Number(row, 3), 0.5, Number(row, 1) + 0.01));

        static double Number(Match row, int group) => double.Parse(row.Groups[group].Value, CultureInfo.InvariantCulture);
    }

    [Fact]
    public async Task Demo_OwnPrompt_IsServedGreedilyAndSampled()
    {
        (int exitCode, string output) = await RunAsync("--prompt", "Tom had a cat", "--max-tokens", "6");
        Assert.True(exitCode == 0, output);
        Assert.Contains("(1 greedy requests, 1 sampled)", output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("decode@40", "at token 40", true)]
    [InlineData("prefill@1", "at token 1", false)]
    [InlineData("prefill@kv", "in the middle of a KV transfer", true)]
    [InlineData("decode@kv", "in the middle of a KV transfer", true)]
    [InlineData("every@40", "at token 40", true)]
    public async Task Demo_StageKilled_GivesTheTokensOfASingleProcess(string order, string moment, bool hits)
    {
        (int exitCode, string output) = await RunAsync("--kill", order, "--max-tokens", "24");
        Assert.True(exitCode == 0, output);
        Assert.Matches($"KILLED .* {moment}", output);
        AssertSame(output, 24);
        Assert.Contains("PLANNED anew", output, StringComparison.Ordinal);
        Assert.Contains("IN USE: ", output, StringComparison.Ordinal);
        Assert.True(!hits || output.Contains("went on with token", StringComparison.Ordinal), output);
    }

    [Fact]
    public async Task Demo_DeviceAdded_GetsItsLayersAndIsUsedWhileTheTextStaysTheSame()
    {
        (int exitCode, string output) = await RunAsync("--add", "workstation@20", "--max-tokens", "24");
        Assert.True(exitCode == 0, output);
        Assert.Matches("JOINED workstation .* at token 20; it holds nothing yet", output);
        Assert.Contains("workstation joined, 13 devices are there", output, StringComparison.Ordinal);
        Assert.Matches("workstation holds layers .* came over the stream", output);
        Assert.Contains("TAKEN UP: the plan with workstation is in use", output, StringComparison.Ordinal);
        AssertSame(output, 24);
    }

    [Fact]
    public async Task Demo_DeviceThatCannotJoin_IsRefusedWithThoseThatCan()
    {
        (int exitCode, string output) = await RunAsync("--add", "toaster@3");
        Assert.Equal(1, exitCode);
        Assert.Contains("'toaster' cannot join; newcomers: workstation, laptop-c, board-c", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Demo_KillOfADeviceThatIsNoStage_IsRefusedWithTheStages()
    {
        (int exitCode, string output) = await RunAsync("--kill", "toaster@3");
        Assert.Equal(1, exitCode);
        Assert.Contains("no stage of the plan runs on 'toaster'; stages: ", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Demo_OtherModel_ScalesTheEmbeddedDevices()
    {
        (int exitCode, string output) = await RunAsync("--model", Repository.PathOf("samples/models/tinytales-3.9m-f32.gguf"), "--prompt", "Tom had a cat", "--max-tokens", "6");
        Assert.True(exitCode == 0, output);
        Assert.Contains("(1 greedy requests, 1 sampled)", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Demo_PlanOnlyAtRealScale_PlansAndStops()
    {
        (int exitCode, string output) = await RunAsync(
            "--plan-only", "--cluster", Repository.PathOf("samples/EdgeCluster/cluster-real.json"), "--model", Repository.PathOf("samples/EdgeCluster/model-8b.json"));
        Assert.True(exitCode == 0, output);
        Assert.Contains("Plan for llama-3.1-8b", output, StringComparison.Ordinal);
        Assert.DoesNotContain("Starting", output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--cluster", "no-such-file.json")]
    [InlineData("--max-tokens", "0")]
    [InlineData("--max-tokens")]
    [InlineData("--frobnicate")]
    [InlineData("--kill", "decode")]
    [InlineData("--kill", "decode@0")]
    [InlineData("--kill", "@5")]
    [InlineData("--kill", "every@kv")]
    [InlineData("--add", "workstation")]
    public async Task Demo_WrongOption_ShowsUsage(params string[] args)
    {
        (int exitCode, string output) = await RunAsync(args);
        Assert.Equal(2, exitCode);
        Assert.Contains("usage: EdgeCluster", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Demo_KilledParent_LeavesNoStageBehind()
    {
        if (!OperatingSystem.IsLinux())
        {
            Console.WriteLine("skipped: child processes are listed on Linux only");
            return;
        }

        await using ChildProcess demo = ChildProcess.Start("dotnet", [typeof(Demo).Assembly.Location, "--max-tokens", "400"]);
        await demo.UntilAsync(() => demo.Out.Contains("Each got its own layers over a stream", StringComparison.Ordinal), "all stages at work");
        int[] children = [.. Directory.GetDirectories($"/proc/{demo.Id}/task")
            .SelectMany(task => File.ReadAllText(Path.Combine(task, "children")).Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Select(int.Parse)];
        Assert.Equal(12, children.Length);

        // No device was told of the model's file, nor has it open or mapped.
        Assert.All(children, child => Assert.DoesNotContain(".gguf", File.ReadAllText($"/proc/{child}/cmdline") + File.ReadAllText($"/proc/{child}/maps"), StringComparison.Ordinal));
        demo.Kill();
        await demo.WaitForExitAsync(ChildProcess.EventLimit);
        for (int i = 0; i < 150 && children.Any(IsAlive); i++)
        {
            await Task.Delay(200);
        }

        int[] left = [.. children.Where(IsAlive)];
        Array.ForEach(left, child => Signals.Send(child, Signals.Kill));
        Assert.Empty(left);
    }

    /// <summary>All tokens of at least two rounds of six requests were judged the same. A sampled text may end before it is as long as asked for.</summary>
    private static void AssertSame(string output, int tokens)
    {
        Match same = Regex.Match(output, @"\nSAME: each of the (\d+) tokens .* \((\d+) greedy requests, (\d+) sampled\)");
        int[] counts = [.. same.Groups.Values.Skip(1).Select(group => int.Parse(group.Value, CultureInfo.InvariantCulture))];
        Assert.Equal(counts[1], counts[2]);
        Assert.True(counts[1] >= 6, output);
        Assert.InRange(counts[0], counts[1] * tokens, counts[1] * 2 * tokens);
    }

    private static bool IsAlive(int id) =>
        File.Exists($"/proc/{id}/cmdline") && File.ReadAllText($"/proc/{id}/cmdline").Contains("EdgeCluster", StringComparison.Ordinal);

    private static async Task<(int ExitCode, string Output)> RunAsync(params string[] args)
    {
        SampleRun run = await SampleRun.OfProgram("dotnet", [typeof(Demo).Assembly.Location, .. args], limit: TimeSpan.FromMinutes(3));
        return (run.ExitCode, $"\n{run.Out}{run.Error}");
    }
}
