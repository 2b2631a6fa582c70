using E2LLM.Deployment;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Tokenization;

namespace E2LLM.Samples.Snippets;

/// <summary>A plan by hand, two devices (here tasks of one process, joined by named pipes), and a dispatcher that serves a prompt.</summary>
internal static class ServePlan
{
    public static async Task RunAsync(string modelPath, TextWriter output)
    {
        using GgufFile file = GgufFile.Open(modelPath);
        ModelIdentity identity = ModelIdentityReader.Read(file);
        ITokenizer tokenizer = TokenizerLoader.Load(file.Metadata);
        DeploymentPlan plan = TwoStages(identity.Shape);
        using var stop = new CancellationTokenSource();
        Task[] devices = [.. plan.Replicas[0].Stages.Select(stage => Task.Run(
            () => StageDevice.RunAsync(modelPath, stage.Device, stage.Layers, NamedPipes.ConnectAsync, stop.Token)))];

        await ServeAsync(plan, identity, tokenizer, NamedPipes.ConnectAsync, output);
        await stop.CancelAsync();
        try
        {
            await Task.WhenAll(devices);
        }
        catch (OperationCanceledException)
        {
            // That is how they end.
        }
    }

    private static async Task ServeAsync(DeploymentPlan plan, ModelIdentity identity, ITokenizer tokenizer, PeerConnector connect, TextWriter output)
    {
        await using Dispatcher dispatcher = await Dispatcher.ConnectAsync(plan, identity, connect);
        ITokenDecoder decoder = tokenizer.CreateDecoder();
        await foreach (int id in dispatcher.Serve(new ServingRequest { PromptIds = tokenizer.Encode("Once upon a time"), MaxTokenCount = 64 }))
        {
            output.Write(decoder.Append(id));
        }
    }

    private static DeploymentPlan TwoStages(ModelShape shape) => new()
    {
        Replicas =
        [
            new ReplicaPlan
            {
                Name = "r0",
                Role = ReplicaRole.Mixed,
                Stages =
                [
                    new StagePlan { Device = "first", Layers = new LayerRange(0, shape.LayerCount / 2), Embedding = true },
                    new StagePlan { Device = "second", Layers = new LayerRange(shape.LayerCount / 2, shape.LayerCount), Head = true },
                ],
            },
        ],
    };
}
