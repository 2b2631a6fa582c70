using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Sampling;

namespace E2LLM.Tests.Replicas;

/// <summary>Text that stages still hold is not read again. Judge of the tokens: one process that starts afresh; judge of the work: tokens that the toy executors computed.</summary>
public sealed class NextTurnTests
{
    private static readonly SamplingOptions Seeded = new() { Temperature = 0.8f, TopK = 20, Seed = 3 };

    [Theory]
    [InlineData(ReplicaRole.Mixed), InlineData(ReplicaRole.Decode)]
    public async Task Serve_NextTurns_GoOnWhereTheTextIsAndReadOnlyWhatIsNew(ReplicaRole role)
    {
        await using var cluster = new MemoryCluster();
        ReplicaPlan[] plans = role == ReplicaRole.Mixed
            ? [cluster.Add("m", role, 3), cluster.Add("n", role, 5)]
            : [cluster.Add("p", ReplicaRole.Prefill, 4), cluster.Add("d", role, 3), cluster.Add("e", role, 5)];
        await using (Dispatcher dispatcher = await cluster.DispatchAsync(plans))
        {
            List<int> text = [.. Tokens(150, 1)];
            string? home = null;
            for (int turn = 0; turn < 4; turn++)
            {
                int before = cluster.Toys.Sum(toy => toy.TokenCount);
                (List<int> answer, RequestReport report) = await ServeAsync(dispatcher, text, 40);
                int reused = turn == 0 ? 0 : (text.Count - 7 - 1) / 64 * 64;
                Assert.Equal(reused, report.ReusedPromptTokenCount);
                Assert.Equal(turn > 0 ? home : report.DecodeReplica, report.DecodeReplica);
                Assert.Equal(turn > 0 || role == ReplicaRole.Mixed ? 0 : text.Count * 8L * 2 * 8 * 4, report.KvTransferBytes);

                // Every stage of every replica that took part computed each new position once: two stages each.
                Assert.Equal(2 * (text.Count - reused + 39), cluster.Toys.Sum(toy => toy.TokenCount) - before);
                home = report.DecodeReplica;
                text = [.. text, .. answer, .. Tokens(7, 50 + turn)];
            }
        }

        await cluster.AssertEmptyAsync();
    }

    [Theory]
    [InlineData(1), InlineData(63), InlineData(64), InlineData(65), InlineData(128), InlineData(129)]
    public async Task Serve_SamePromptAgain_PrefillReplicaSendsWhatItKept(int length)
    {
        await using var cluster = new MemoryCluster();
        await using Dispatcher dispatcher = await cluster.DispatchAsync(
            new DispatcherOptions { NextTurnTokenCount = 0 }, cluster.Add("p", ReplicaRole.Prefill, 2, 5), cluster.Add("d", ReplicaRole.Decode, 3));
        List<int> prompt = Tokens(length, 2);
        for (int round = 0; round < 3; round++)
        {
            (_, RequestReport report) = await ServeAsync(dispatcher, prompt, 20);
            Assert.Equal(round == 0 ? 0 : (length - 1) / 64 * 64, report.ReusedPromptTokenCount);

            // The decode replica kept the prompt's whole pages too: only the rest moves.
            Assert.Equal((length - report.ReusedPromptTokenCount) * 8L * 2 * 8 * 4, report.KvTransferBytes);
        }
    }

    [Fact]
    public async Task Serve_DecodeStagesThatKeepDifferentMuch_EachGetsWhatItLacks()
    {
        // The last stage has little memory: another prompt drives out what it kept, and the prefill replica has forgotten other prompts than the decode replica has.
        await using var cluster = new MemoryCluster { ChunkTokenCount = 50 };
        ReplicaPlan prefill = cluster.Add("p", ReplicaRole.Prefill, [2, 5], range => new ToyExecutor(8, range, range.Start == 2 ? 7 : 64));
        ReplicaPlan decode = cluster.Add("d", ReplicaRole.Decode, [3], range => new ToyExecutor(8, range, range.Start == 3 ? 8 : 64));
        await using (Dispatcher dispatcher = await cluster.DispatchAsync(new DispatcherOptions { NextTurnTokenCount = 0 }, prefill, decode))
        {
            var seen = new HashSet<long>();
            for (int round = 0; round < 8; round++)
            {
                seen.Add((await ServeAsync(dispatcher, Tokens(400, 1), 10)).Report.KvTransferBytes);
                await ServeAsync(dispatcher, Tokens(60 + (round * 30), 10 + round), 5);
            }

            long layer = 2 * 8 * 4, whole = 400 * 8 * layer, least = 16 * 8 * layer;
            Assert.Contains(whole, seen);
            Assert.Contains(seen, bytes => bytes > least && bytes < whole);
            Assert.All(seen, bytes => Assert.InRange(bytes, least, whole));
        }

        await cluster.AssertEmptyAsync();
    }

    [Fact]
    public async Task Serve_StagesThatKeepDifferentMuch_StartWhereTheLeastIs()
    {
        // The middle stage has so little memory that another prompt drives out what it kept.
        await using var cluster = new MemoryCluster();
        ReplicaPlan plan = cluster.Add("m", ReplicaRole.Mixed, [2, 5], range => new ToyExecutor(8, range, range.Start == 2 ? 8 : 64));
        await using (Dispatcher dispatcher = await cluster.DispatchAsync(plan))
        {
            var seen = new HashSet<int>();
            for (int round = 0; round < 6; round++)
            {
                seen.Add((await ServeAsync(dispatcher, Tokens(400, 1), 10)).Report.ReusedPromptTokenCount);
                await ServeAsync(dispatcher, Tokens(100 + (round * 20), 10 + round), 5);
            }

            Assert.Contains(seen, count => count is > 0 and < 384);
        }

        await cluster.AssertEmptyAsync();
    }

    [Fact]
    public async Task Serve_ManyTextsWithOneBeginning_ShareItAndStayRight()
    {
        await using var cluster = new MemoryCluster { ChunkTokenCount = 48 };
        await using (Dispatcher dispatcher = await cluster.DispatchAsync(
            cluster.Add("p", ReplicaRole.Prefill, 4), cluster.Add("m", ReplicaRole.Mixed, 5), cluster.Add("d", ReplicaRole.Decode, 3, 6)))
        {
            List<int> system = Tokens(140, 5);
            await ServeAsync(dispatcher, system, 2);
            (List<int>, RequestReport Report)[] served = await Task.WhenAll(Enumerable.Range(0, 24).Select(i => ServeAsync(dispatcher, [.. system, .. Tokens(1 + (i * 3), 60 + i)], 1 + (i % 12))));
            Assert.Contains(served, one => one.Report.ReusedPromptTokenCount >= 128);
        }

        await cluster.AssertEmptyAsync();
    }

    [Fact]
    public async Task Serve_KeepingNothing_ReadsEverythingAgain()
    {
        await using var cluster = new MemoryCluster { HostOptions = options => options with { KeptKvBlockCount = 0 } };
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("m", ReplicaRole.Mixed, 4));
        for (int round = 0; round < 2; round++)
        {
            Assert.Equal(0, (await ServeAsync(dispatcher, Tokens(200, 1), 3)).Report.ReusedPromptTokenCount);
        }
    }

    [Fact]
    public async Task Serve_AnotherDriver_DoesNotSeeWhatTheFirstLeft()
    {
        await using var cluster = new MemoryCluster();
        ReplicaPlan plan = cluster.Add("m", ReplicaRole.Mixed, 4);
        await using Dispatcher first = await cluster.DispatchAsync(plan), second = await cluster.DispatchAsync(plan);
        await ServeAsync(first, Tokens(200, 1), 3);
        Assert.Equal(0, (await ServeAsync(second, Tokens(200, 1), 3)).Report.ReusedPromptTokenCount);
        Assert.Equal(192, (await ServeAsync(first, Tokens(200, 1), 3)).Report.ReusedPromptTokenCount);
    }

    [Fact]
    public async Task Serve_HolderIsLost_NextTurnIsReadElsewhere()
    {
        await using var cluster = new MemoryCluster();
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("m", ReplicaRole.Mixed, 4), cluster.Add("n", ReplicaRole.Mixed, 4));
        List<int> text = Tokens(200, 1);
        (List<int> answer, RequestReport report) = await ServeAsync(dispatcher, text, 30);
        cluster.Kill(report.DecodeReplica + "1");
        text = [.. text, .. answer, 5];
        (_, RequestReport next) = await ServeAsync(dispatcher, text, 30);
        Assert.NotEqual(report.DecodeReplica, next.DecodeReplica);
        Assert.Equal(0, next.ReusedPromptTokenCount);
    }

    /// <summary>Serves a request and holds its tokens against one process that starts afresh.</summary>
    private static async Task<(List<int> Tokens, RequestReport Report)> ServeAsync(Dispatcher dispatcher, List<int> prompt, int count)
    {
        var request = new ServingRequest { PromptIds = [.. prompt], MaxTokenCount = count, Sampling = Seeded };
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        ServedRequest served = dispatcher.Serve(request);
        var tokens = new List<int>();
        await foreach (int token in served)
        {
            tokens.Add(token);
        }

        Assert.Equal(MemoryCluster.Reference(whole, request), tokens);
        return (tokens, served.Report);
    }

    private static List<int> Tokens(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(97))];
    }
}
