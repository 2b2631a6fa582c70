using System.Reflection;
using System.Text.RegularExpressions;
using E2LLM.Deployment;
using E2LLM.Diagnostics;
using E2LLM.Generation;
using E2LLM.Replicas;
using E2LLM.Samples;
using E2LLM.Sampling;
using E2LLM.Tests.Replicas;
using E2LLM.Tests.Support;
using Microsoft.Extensions.Logging;

namespace E2LLM.Tests.Diagnostics;

/// <summary>What an operator reads when devices come, go and fail.</summary>
public sealed partial class RuntimeLogTests : IDisposable
{
    private readonly CollectedLog _stages = new();
    private readonly CollectedLog _log = new();

    [Fact]
    public async Task Serve_DecodeDeviceLost_ConnectionLossAndRecoveryAreTold()
    {
        await using (MemoryCluster cluster = Cluster())
        {
            await using Dispatcher dispatcher = await cluster.DispatchAsync(
                new DispatcherOptions { LoggerFactory = _log }, cluster.Add("p", ReplicaRole.Prefill, 4), cluster.Add("d", ReplicaRole.Decode, 3), cluster.Add("e", ReplicaRole.Decode, 5));
            ServedRequest served = dispatcher.Serve(DispatcherTests.Request(70, 20));
            int count = 0;
            await foreach (int _ in served)
            {
                if (++count == 4)
                {
                    cluster.Kill(served.Report.DecodeReplica + "1");
                }
            }

            Assert.Equal(20, count);
            Assert.Equal(["d", "e", "p"], _log.Of(120).Select(entry => Quoted().Match(entry.Text).Value).Order());
            LogEntry lost = Assert.Single(_log.Of(121)), begun = Assert.Single(_log.Of(110));
            Assert.Equal(LogLevel.Warning, lost.Level);
            Assert.IsType<PeerLostException>(lost.Error);
            Assert.IsType<PeerLostException>(begun.Error);
            Assert.Contains("behind 74 tokens; recovery 1 of at most 8", begun.Text, StringComparison.Ordinal);
            Assert.Single(_log.Of(111));
            Assert.Equal(2, _log.Of(101).Count);
            Assert.Contains("70 prompt tokens, at most 20", Assert.Single(_log.Of(100)).Text, StringComparison.Ordinal);
            Assert.EndsWith("ended after 20 tokens", Assert.Single(_log.Of(102)).Text, StringComparison.Ordinal);
            Assert.Equal(["E2LLM.Replicas.Dispatcher", "E2LLM.Replicas.Replica"], _log.All.Select(entry => entry.Category).Distinct().Order());
            Assert.NotEmpty(_stages.Of(162));
        }

        // A driver to each of six stages, three chains, and keys and values over four links at first, then to the two stages of the other replica.
        string[] opened = [.. _stages.Of(140).Select(entry => entry.Text)];
        Assert.Equal(6, opened.Count(text => text.EndsWith("(Driver)", StringComparison.Ordinal)));
        Assert.True(opened.Count(text => text.EndsWith("(Chain)", StringComparison.Ordinal)) >= 6);
        Assert.NotEmpty(_stages.Of(142));
        Assert.All(_stages.All, entry => Assert.Equal("E2LLM.Replicas.StageHost", entry.Category));
    }

    [Fact]
    public async Task Serve_LinkOfKeysAndValuesBreaks_TransferFailsAndIsTriedAgain()
    {
        int broken = 0;
        await using MemoryCluster cluster = new()
        {
            HostOptions = options => options with { LoggerFactory = _stages },
            WrapBetween = (from, peer, stream) => from == "p0" && peer == "d0" && Interlocked.Exchange(ref broken, 1) == 0 ? new EndingStream(stream, 3000) : stream,
        };
        await using Dispatcher dispatcher = await cluster.DispatchAsync(
            new DispatcherOptions { LoggerFactory = _log }, cluster.Add("p", ReplicaRole.Prefill), cluster.Add("d", ReplicaRole.Decode));
        Assert.Equal(6, (await DispatcherTests.CollectAsync(dispatcher.Serve(DispatcherTests.Request(70, 6)))).Count);
        LogEntry failed = await _stages.WaitAsync(160);
        Assert.Contains("from stage p0 to d0", failed.Text, StringComparison.Ordinal);
        Assert.Equal(LogLevel.Warning, failed.Level);
        Assert.NotEmpty(_log.Of(110).Concat(_log.Of(112)));
        Assert.Single(_log.Of(111));
    }

    [Fact]
    public async Task Replan_LayersMove_PlanAndLoadingAreTold()
    {
        await using MemoryCluster cluster = Cluster();
        cluster.AddIdle("a");
        cluster.AddIdle("b", layers => layers.Start == 0 ? throw new IOException("no disk") : throw new InvalidOperationException());
        var only = new ReplicaPlan { Name = "only", Role = ReplicaRole.Mixed, Stages = [new StagePlan { Device = "a", Layers = new LayerRange(0, 8), Embedding = true, Head = true }] };
        await using Dispatcher dispatcher = await cluster.DispatchAsync(
            new DispatcherOptions
            {
                LoggerFactory = _log, MaxRecoveryCount = 1,
                Replan = (loss, _) => ValueTask.FromResult<DeploymentPlan?>(loss.FailedPlanCount > 0 ? null : Plan(only with { Stages = [only.Stages[0] with { Device = "b" }] })),
            },
            only);
        Assert.Equal("Stage a loads layers [0, 8)", Assert.Single(_stages.Of(150)).Text);
        Assert.Single(_stages.Of(151));
        Assert.EndsWith("0 replicas stay, 0 end, 1 come", Assert.Single(_log.Of(131)).Text, StringComparison.Ordinal);
        cluster.Kill("a");
        Assert.Contains("lost are a, 0 replicas run", (await _log.WaitAsync(130)).Text, StringComparison.Ordinal);
        LogEntry notLoaded = await _stages.WaitAsync(152);
        Assert.Contains("no disk", notLoaded.Text, StringComparison.Ordinal);
        Assert.IsType<PeerLostException>((await _log.WaitAsync(132)).Error);
        await _log.WaitAsync(133);
    }

    [Fact]
    public async Task Connect_AnotherModel_RefusalNamesTheFields()
    {
        await using MemoryCluster cluster = Cluster();
        ReplicaPlan plan = cluster.Add("p", ReplicaRole.Mixed);
        var other = new ModelIdentity(ToyExecutor.ToyShape(8), new byte[32], new byte[] { 9 }.Concat(new byte[31]).ToArray());
        await Assert.ThrowsAsync<HandshakeRejectedException>(() => Replica.ConnectAsync(plan, other, cluster.ConnectAsync, cluster.Options));
        Assert.Contains("weights_hash: ours ", (await _stages.WaitAsync(143)).Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Serve_NoReplicaIsLargeEnough_RefusalIsTold()
    {
        await using MemoryCluster cluster = Cluster();
        await using Dispatcher dispatcher = await cluster.DispatchAsync(
            new DispatcherOptions { LoggerFactory = _log }, cluster.Add("m", ReplicaRole.Mixed, [], range => new ToyExecutor(8, range, blockCount: 2)));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => DispatcherTests.CollectAsync(dispatcher.Serve(DispatcherTests.Request(300, 20))));
        Assert.Contains("300 tokens fits no replica", Assert.Single(_log.Of(104)).Text, StringComparison.Ordinal);
        Assert.IsType<ArgumentOutOfRangeException>(Assert.Single(_log.Of(103)).Error);
    }

    [Fact]
    public async Task Generator_LoadsAnswersAndRefuses_NoTextIsTold()
    {
        using (TextGenerator generator = TextGenerator.Load(TestModel.OwnModel("q8_0"), new GeneratorOptions { LoggerFactory = _log }))
        {
            await foreach (GeneratedToken _ in generator.GenerateAsync("The purple dog", new GenerationOptions { MaxTokenCount = 4 }))
            {
            }

            Assert.Throws<ArgumentException>(() => generator.GenerateAsync(string.Join(' ', Enumerable.Repeat("purple", 3000))));
        }

        Assert.Contains($"{new FileInfo(TestModel.OwnModel("q8_0")).Name.Split('-')[0]}", Assert.Single(_log.Of(153)).Text, StringComparison.OrdinalIgnoreCase);
        Assert.EndsWith("ended after 4 tokens", Assert.Single(_log.Of(102)).Text, StringComparison.Ordinal);
        Assert.Single(_log.Of(104));
        Assert.All(_log.All, entry => Assert.Equal(("E2LLM.Generation.TextGenerator", false), (entry.Category, entry.Text.Contains("purple", StringComparison.Ordinal))));
    }

    [Fact]
    public void Events_IdsLevelsAndNames_AreThoseOfTheList()
    {
        string[] actual = [.. typeof(RuntimeLog).GetMethods(BindingFlags.Static | BindingFlags.Public)
            .Select(method => (method.Name, Event: method.GetCustomAttribute<LoggerMessageAttribute>())).Where(item => item.Event is not null)
            .Select(item => $"| {item.Event!.EventId} | {item.Name} | {(item.Event.Level == LogLevel.None || (int)item.Event.Level < 0 ? "Warning" : item.Event.Level)} |").Order()];
        string[] listed = [.. File.ReadLines(Repository.PathOf("src/E2LLM/Diagnostics/README.md"))
            .Where(line => Row().IsMatch(line)).Select(line => Row().Match(line).Value).Order()];
        Assert.Equal(listed, actual);
    }

    public void Dispose()
    {
        _stages.Dispose();
        _log.Dispose();
    }

    private MemoryCluster Cluster() => new() { HostOptions = options => options with { LoggerFactory = _stages } };

    private static DeploymentPlan Plan(ReplicaPlan replica) =>
        new() { Planner = "test", ModelName = "test", Objective = new PlanObjective { Kind = "capacity" }, Replicas = [replica] };

    [GeneratedRegex(@"(?<=Replica )\w+")]
    private static partial Regex Quoted();

    [GeneratedRegex(@"^\| \d+ \| \w+ \| \w+ \|")]
    private static partial Regex Row();

    /// <summary>Breaks after so many bytes were written.</summary>
    private sealed class EndingStream(Stream inner, int bytes) : PassingStream(inner)
    {
        private int _left = bytes;

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
            (_left -= buffer.Length) < 0 ? throw new IOException("The cable is cut.") : base.WriteAsync(buffer, cancellationToken);
    }
}
