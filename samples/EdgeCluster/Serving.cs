using E2LLM.Replicas;
using E2LLM.Samples.EdgeCluster.Output;

namespace E2LLM.Samples.EdgeCluster;

/// <summary>Sees each token of a request before it is shown.</summary>
/// <param name="request">The request.</param>
/// <param name="served">Its run.</param>
/// <param name="count">Tokens of it so far.</param>
internal delegate void TokenWatcher(DemoRequest request, ServedRequest served, int count);

/// <summary>Serves requests that come one after another, side by side, and shows their text as it comes.</summary>
internal static class Serving
{
    private static readonly TimeSpan Period = TimeSpan.FromMilliseconds(150);

    public static async Task<IReadOnlyList<DemoResult>> RunAsync(
        Dispatcher dispatcher, IReadOnlyList<DemoRequest> requests, ITokenizer tokenizer, LiveText live, TokenWatcher watcher, CancellationToken ct) =>
        await Task.WhenAll(requests.Select((request, index) => ServeAsync(dispatcher, request, index * Period, tokenizer, live, watcher, ct)));

    private static async Task<DemoResult> ServeAsync(
        Dispatcher dispatcher, DemoRequest request, TimeSpan arrival, ITokenizer tokenizer, LiveText live, TokenWatcher watcher, CancellationToken ct)
    {
        await Task.Delay(arrival, ct);
        ServedRequest served = dispatcher.Serve(new ServingRequest
        {
            PromptIds = request.PromptIds,
            MaxTokenCount = request.MaxTokens,
            Sampling = request.Sampling,
            EndsAt = tokenizer.IsEndOfGeneration,
        });
        var ids = new List<int>();
        ITokenDecoder decoder = tokenizer.CreateDecoder();
        live.Start(request);
        await foreach (int id in served.WithCancellation(ct))
        {
            ids.Add(id);
            watcher(request, served, ids.Count);
            if (ids.Count == 1)
            {
                live.FirstToken(request, served.Report);
            }

            live.Append(request, decoder.Append(id));
        }

        live.Append(request, decoder.Flush());
        live.End(request);
        return new DemoResult(request, ids, served.Report);
    }
}
