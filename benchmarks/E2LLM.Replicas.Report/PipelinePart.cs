using System.Diagnostics;
using E2LLM.Benchmarks;
using E2LLM.Deployment;
using E2LLM.Gguf;

namespace E2LLM.Replicas.Report;

/// <summary>
/// What a cut in two costs: stages in processes of one thread each against one process with the whole model, over TCP on this machine, by the same
/// dispatcher; and against two processes with the whole model each that know nothing of each other: what the second processor gives at all. Rounds alternate between the settings, so that
/// a slow minute of the machine meets them all.
/// </summary>
internal static class PipelinePart
{
    private const int PromptTokens = 512, PromptCount = 4, DecodeTokens = 40, WarmTokens = 4;
    private static int s_seed;

    /// <summary>Replicas that run at the same time, each by itself; <paramref name="Count"/> requests for each.</summary>
    private sealed record Setting(string Name, ReplicaPlan[] Plans, int Threads, int Count, int ChunkTokens)
    {
        public IEnumerable<string> Devices => Plans.SelectMany(plan => plan.Stages).Select(stage => stage.Device);
    }

    /// <summary>Four concurrent prompts of 512 tokens.</summary>
    public static async Task PrefillAsync(string path, int rounds, int? cut, bool all)
    {
        (ModelIdentity model, int layers) = Read(path);
        ReplicaPlan whole = StageProcess.Plan("one", ReplicaRole.Mixed, layers), other = StageProcess.Plan("other", ReplicaRole.Mixed, layers);
        ReplicaPlan two = StageProcess.Plan("two", ReplicaRole.Mixed, layers, cut ?? (layers / 2)), threads = StageProcess.Plan("threads", ReplicaRole.Mixed, layers);
        Setting[] settings =
        [
            new("one process, 1 thread", [whole], 1, PromptCount, 512),
            new($"two stages {Cut(two)}, 1 thread each, chunks of 64", [two], 1, PromptCount, 64),
            new("two processes apart, each with the whole model, 1 thread and half the prompts", [whole, other], 1, PromptCount / 2, 512),
            .. all ? new Setting[] { new("one process, 2 threads", [threads], 2, PromptCount, 512) } : [],
        ];
        await using StageProcess fleet = await StartAsync(path, settings);
        await CompareAsync(fleet, model, settings, rounds, "prompt tokens/s", async (dispatcher, setting) =>
        {
            double[][] times = await Serving.RunAsync(dispatcher, Serving.Prompts(setting.Count, PromptTokens, Interlocked.Increment(ref s_seed), model.Shape.VocabularySize), 1);
            return setting.Count * PromptTokens / times.Max(one => one[0]);
        });
    }

    /// <summary>Eight sequences that generate, as two micro-batches of four over two stages.</summary>
    public static async Task DecodeAsync(string path, int rounds, int? cut, bool all)
    {
        (ModelIdentity model, int layers) = Read(path);

        // The head weighs as much as one to two layers when every step ends in it, so the last stage holds fewer layers than when prompts are read.
        ReplicaPlan whole = StageProcess.Plan("one", ReplicaRole.Mixed, layers), other = StageProcess.Plan("other", ReplicaRole.Mixed, layers);
        ReplicaPlan two = StageProcess.Plan("two", ReplicaRole.Mixed, layers, cut ?? ((layers / 2) + 1)), threads = StageProcess.Plan("threads", ReplicaRole.Mixed, layers);
        Setting[] settings =
        [
            new("one process, 1 thread, batch 4", [whole], 1, 4, 128),
            new($"two stages {Cut(two)}, 1 thread each, 8 sequences", [two], 1, 8, 128),
            new("two processes apart, each with the whole model, 1 thread, batch 4", [whole, other], 1, 4, 128),
            .. all ? new Setting[]
            {
                new("one process, 1 thread, batch 8", [whole], 1, 8, 128),
                new("one process, 2 threads, batch 4", [threads], 2, 4, 128),
                new("one process, 2 threads, batch 8", [threads], 2, 8, 128),
            } : [],
        ];
        await using StageProcess fleet = await StartAsync(path, settings);
        await CompareAsync(fleet, model, settings, rounds, "tokens/s", async (dispatcher, setting) =>
        {
            double[][] times = await Serving.RunAsync(dispatcher, Serving.Prompts(setting.Count, 16, Interlocked.Increment(ref s_seed), model.Shape.VocabularySize), DecodeTokens);

            // From when all generate until the first is through.
            double from = times.Max(one => one[WarmTokens]), to = times.Min(one => one[^1]);
            return times.Sum(one => one.Count(time => time > from && time <= to)) / (to - from);
        });
    }

    private static string Cut(ReplicaPlan plan) => string.Join(' ', plan.Stages.Select(stage => $"[{stage.Layers.Start}, {stage.Layers.End})"));

    private static Task<StageProcess> StartAsync(string path, Setting[] settings) => StageProcess.StartAsync(
        path, settings.SelectMany(setting => setting.Plans.Select(plan => (plan, setting.Threads))).DistinctBy(start => start.plan.Name));

    private static async Task CompareAsync(
        StageProcess fleet, ModelIdentity model, Setting[] settings, int rounds, string unit, Func<Dispatcher, Setting, Task<double>> measure)
    {
        foreach (Setting setting in settings)
        {
            // Compiles what will be measured; a compiler at work beside two busy stages would be measured with them.
            await TogetherAsync(setting, async dispatcher =>
            {
                await Serving.RunAsync(dispatcher, Serving.Prompts(setting.Count, 24, Interlocked.Increment(ref s_seed), model.Shape.VocabularySize), 12);
                return 0;
            });
        }

        var rates = settings.ToDictionary(setting => setting, _ => new List<double>());
        var busy = settings.ToDictionary(setting => setting, _ => new List<double[]>());
        var steps = new List<string>();
        for (int round = 0; round < rounds; round++)
        {
            foreach (Setting setting in settings)
            {
                StageSteps[] stepsBefore = await StepsAsync(setting);
                TimeSpan processor = Environment.CpuUsage.TotalTime;
                double[] before = await BusyAsync(setting);
                long start = Stopwatch.GetTimestamp();
                rates[setting].Add(await TogetherAsync(setting, dispatcher => measure(dispatcher, setting)));
                double wall = Stopwatch.GetElapsedTime(start).TotalSeconds;
                busy[setting].Add([.. (await BusyAsync(setting)).Select((seconds, i) => (seconds - before[i]) / wall)]);
                if (setting.Plans is [{ Stages.Count: > 1 }])
                {
                    steps.Add(Timeline.Describe(stepsBefore, await StepsAsync(setting), (Environment.CpuUsage.TotalTime - processor).TotalSeconds));
                }
            }
        }

        // What two processors can do beside each other on this machine, for whatever lives on memory.
        double alone = Calibration.ReadBytesPerSecond(), together = 0;
        Parallel.For(0, 2, new ParallelOptions { MaxDegreeOfParallelism = 2 }, _ =>
        {
            double rate = Calibration.ReadBytesPerSecond();
            lock (rates)
            {
                together += rate;
            }
        });
        Console.WriteLine($"Memory: one thread reads {alone / 1e9:F1} GB/s, two together {together / 1e9:F1} GB/s (ratio {together / alone:F2}).");
        Console.WriteLine($"| setting | {unit} (median of {rounds}) | all rounds | ratio to the first | stages busy |");
        Console.WriteLine("|---|---|---|---|---|");
        foreach (Setting setting in settings)
        {
            // Each round by its own first, so that a slow minute is in both.
            double ratio = Serving.Median(rates[setting].Select((rate, round) => rate / rates[settings[0]][round]));
            Console.WriteLine($"| {setting.Name} | {Serving.Median(rates[setting]):F2} | {string.Join(" ", rates[setting].Select(rate => $"{rate:F2}"))} | {ratio:F2} | {string.Join(" ", setting.Devices.Select((_, i) => $"{Serving.Median(busy[setting].Select(shares => shares[i])):P0}"))} |");
        }

        Console.WriteLine("\nSteps of the two stages, by round:\n");
        steps.ForEach(line => Console.WriteLine($"- {line}"));

        // Each replica behind a dispatcher of its own, all at once; rates add up.
        async Task<double> TogetherAsync(Setting setting, Func<Dispatcher, Task<double>> use)
        {
            Dispatcher[] dispatchers = await Task.WhenAll(setting.Plans.Select(plan => Serving.ConnectAsync(fleet, model, setting.ChunkTokens, plan)));
            double[] results = await Task.WhenAll(dispatchers.Select(use));
            foreach (Dispatcher dispatcher in dispatchers)
            {
                await dispatcher.DisposeAsync();
            }

            return results.Sum();
        }

        Task<double[]> BusyAsync(Setting setting) => Task.WhenAll(setting.Devices.Select(fleet.BusySecondsAsync));

        Task<StageSteps[]> StepsAsync(Setting setting) => Task.WhenAll(setting.Devices.Select(fleet.StepsAsync));
    }

    private static (ModelIdentity Model, int Layers) Read(string path)
    {
        using GgufFile file = GgufFile.Open(path);
        return (ModelIdentityReader.Read(file), ModelShapeReader.Read(file).LayerCount);
    }
}
