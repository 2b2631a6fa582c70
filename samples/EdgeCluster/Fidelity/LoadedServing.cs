using System.Diagnostics;
using E2LLM.Replicas;
using E2LLM.Simulation;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>Serves prompts of random tokens: what they say does not matter here, when they come and how long they are does.</summary>
internal sealed class LoadedServing(Dispatcher dispatcher, int vocabularySize, int seed)
{
    private readonly Random _random = new(seed);

    /// <summary>Each request when it is due.</summary>
    public async Task<IReadOnlyList<MeasuredRequest>> RunAsync(IReadOnlyList<SimulatedRequest> requests, CancellationToken ct)
    {
        long began = Stopwatch.GetTimestamp();
        (SimulatedRequest Request, int[] Prompt)[] prepared = [.. requests.Select(request => (request, Prompt(request.PromptTokens)))];
        return await Task.WhenAll(prepared.Select(async one =>
        {
            TimeSpan left = TimeSpan.FromSeconds(one.Request.ArrivalSeconds) - Stopwatch.GetElapsedTime(began);
            await Task.Delay(left > TimeSpan.Zero ? left : TimeSpan.Zero, ct);
            return await ServeAsync(one.Prompt, one.Request.OutputTokens, ct);
        }));
    }

    /// <summary>One request after another, each alone.</summary>
    public async Task<IReadOnlyList<MeasuredRequest>> RunAloneAsync(IEnumerable<(int Prompt, int Output)> lengths, CancellationToken ct)
    {
        var results = new List<MeasuredRequest>();
        foreach ((int prompt, int output) in lengths)
        {
            results.Add(await ServeAsync(Prompt(prompt), output, ct));
        }

        return results;
    }

    private int[] Prompt(int count) => [.. Enumerable.Range(0, count).Select(_ => _random.Next(3, vocabularySize))];

    private async Task<MeasuredRequest> ServeAsync(int[] prompt, int outputTokens, CancellationToken ct)
    {
        ServedRequest served = dispatcher.Serve(new ServingRequest { PromptIds = prompt, MaxTokenCount = outputTokens });
        await foreach (int _ in served.WithCancellation(ct))
        {
        }

        return new MeasuredRequest(prompt.Length, served.Report.OutputTokenCount, served.Report.TtftSeconds, served.Report.TpotSeconds, served.Report.PrefillReplica!, served.Report.DecodeReplica!);
    }
}
