using E2LLM.Deployment;
using E2LLM.Gguf;

namespace E2LLM.Replicas.Report;

/// <summary>
/// Prefill on one device, generation on another, over a link that carries 1.3 times the bytes that prefill produces: what the move of keys and values adds
/// to the second token, with the sending while the prompt is read and without.
/// </summary>
internal static class OverlapPart
{
    private const int PromptTokens = 512, ChunkTokens = 64;
    private const double LinkFactor = 1.3;

    public static async Task RunAsync(string path, int rounds)
    {
        ModelIdentity model;
        using (GgufFile file = GgufFile.Open(path))
        {
            model = ModelIdentityReader.Read(file);
        }

        int layers = model.Shape.LayerCount, seed = 0;
        ReplicaPlan one = StageProcess.Plan("one", ReplicaRole.Mixed, layers), decode = StageProcess.Plan("decode", ReplicaRole.Decode, layers);
        ReplicaPlan during = StageProcess.Plan("during", ReplicaRole.Prefill, layers), after = StageProcess.Plan("after", ReplicaRole.Prefill, layers);
        await using StageProcess fleet = await StageProcess.StartAsync(path, [(one, 1), (decode, 1), (during, 1), (after, 1)], device => device != "after0");
        double bytes = 2.0 * layers * PromptTokens * model.Shape.KvWidth * 2;
        double[] first = await FirstTwoAsync(one);
        await FirstTwoAsync(during, decode);
        await FirstTwoAsync(after, decode);
        Console.WriteLine($"| round | link MB/s | transfer alone | first token: one device, sent while reading, sent afterwards | second token: one device | sent while reading | sent afterwards | ratios | time hidden |");
        Console.WriteLine("|---|---|---|---|---|---|---|---|---|");
        var ratios = new List<(double During, double After)>();
        for (int round = 0; round < rounds; round++)
        {
            first = await FirstTwoAsync(one);
            double rate = LinkFactor * bytes / first[0], alone = bytes / rate;
            await fleet.SetRateAsync("during0", rate);
            await fleet.SetRateAsync("after0", rate);
            double[] overlapped = await FirstTwoAsync(during, decode), apart = await FirstTwoAsync(after, decode);
            ratios.Add((overlapped[1] / first[1], apart[1] / first[1]));

            // What the second token waits for beyond the same step on one device is the part of the transfer that shows.
            double shown = overlapped[1] - overlapped[0] - (first[1] - first[0]);
            Console.WriteLine(
                $"| {round + 1} | {rate / 1e6:F2} | {alone:F2} s | {first[0]:F2}, {overlapped[0]:F2}, {apart[0]:F2} s | {first[1]:F2} s | {overlapped[1]:F2} s | {apart[1]:F2} s | {ratios[^1].During:F2}, {ratios[^1].After:F2} | {alone - shown:F2} s of {alone:F2} s ({(alone - shown) / alone:P0}) |");
        }

        Console.WriteLine($"Median ratio to one device: {Serving.Median(ratios.Select(ratio => ratio.During)):F3} sent while reading, {Serving.Median(ratios.Select(ratio => ratio.After)):F3} sent afterwards.");

        async Task<double[]> FirstTwoAsync(params ReplicaPlan[] replicas)
        {
            await using Dispatcher dispatcher = await Serving.ConnectAsync(fleet, model, ChunkTokens, replicas);
            return (await Serving.RunAsync(dispatcher, Serving.Prompts(1, PromptTokens, ++seed, model.Shape.VocabularySize), 2))[0];
        }
    }
}
