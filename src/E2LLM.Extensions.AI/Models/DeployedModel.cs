using System.Runtime.CompilerServices;
using E2LLM.Generation;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Sampling;
using E2LLM.Tokenization;

namespace E2LLM.Extensions.AI.Models;

/// <summary>A model over prefill and decode replicas.</summary>
internal sealed class DeployedModel(Dispatcher dispatcher, ModelShape shape, ITokenizer tokenizer, ChatTemplate? template) : IServedModel
{
    /// <summary>Reads what is needed beside the replicas from the model's file.</summary>
    public static DeployedModel Of(Dispatcher dispatcher, GgufFile model)
    {
        ArgumentNullException.ThrowIfNull(dispatcher);
        ArgumentNullException.ThrowIfNull(model);
        return new DeployedModel(dispatcher, ModelShapeReader.Read(model), TokenizerLoader.Load(model.Metadata), ChatTemplate.FromMetadata(model.Metadata));
    }

    public string Name => shape.Name;

    public ITokenizer Tokenizer => tokenizer;

    public ChatTemplate? Template => template;

    public object Service => dispatcher;

    public async IAsyncEnumerable<GeneratedToken> GenerateAsync(
        IReadOnlyList<int> promptIds, GenerationOptions options, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var text = new TextContinuation(tokenizer, promptIds, options, shape.ContextLength);
        var request = new ServingRequest { PromptIds = promptIds, MaxTokenCount = options.MaxTokenCount, Sampling = options.Sampling, EndsAt = tokenizer.IsEndOfGeneration };
        ServedRequest served = dispatcher.Serve(request);
        await foreach (TokenChoice choice in served.ChoicesAsync(cancellationToken).ConfigureAwait(false))
        {
            GeneratedToken token = text.Append(choice) with { ReusedPromptTokenCount = served.Report.ReusedPromptTokenCount };
            yield return token;
            if (token.Finish is not null)
            {
                yield break;
            }
        }
    }
}
