using System.Globalization;

namespace E2LLM.Costs;

/// <summary>Finds what is wrong with a model that was made by hand; what the readers make is right. Stateless.</summary>
internal static class ModelCheck
{
    public static CostProblem? Find(ModelCost model)
    {
        if (model.Layers is null || model.Layers.Count == 0)
        {
            return new CostProblem("model.layers", "The model has no layers.");
        }

        for (int i = 0; i < model.Layers.Count; i++)
        {
            LayerCost? layer = model.Layers[i];
            string at = $"model.layers[{i}]";
            if (layer is null)
            {
                return new CostProblem(at, "The layer is missing.");
            }

            if ((Bytes(layer.WeightBytes, $"{at}.weightBytes") ?? Bytes(layer.ExpertBytes, $"{at}.expertBytes") ?? Bytes(layer.KvBytesPerToken, $"{at}.kvBytesPerToken")
                ?? Bytes(layer.Window, $"{at}.window") ?? Flops(layer.FlopsPerToken, $"{at}.flopsPerToken") ?? Flops(layer.AttentionFlopsPerPair, $"{at}.attentionFlopsPerPair")) is { } problem)
            {
                return problem;
            }
        }

        return Positive(model.HiddenSize, "model.hiddenSize") ?? Positive(model.FeedForwardSize, "model.feedForwardSize") ?? Positive(model.QueryWidth, "model.queryWidth")
            ?? Positive(model.VocabularySize, "model.vocabularySize") ?? Positive(model.ContextLength, "model.contextLength")
            ?? Bytes(model.EmbeddingBytes, "model.embeddingBytes") ?? Bytes(model.HeadBytes, "model.headBytes") ?? Bytes(model.ExpertCount, "model.expertCount")
            ?? (model.ExpertUsedCount < 0 || model.ExpertUsedCount > model.ExpertCount
                ? new CostProblem("model.expertUsedCount", $"{model.ExpertUsedCount} of {model.ExpertCount} experts.") : null);
    }

    private static CostProblem? Positive(int value, string at) => value > 0 ? null : new CostProblem(at, $"Must be positive, is {value}.");

    private static CostProblem? Bytes(long value, string at) => value >= 0 ? null : new CostProblem(at, $"Is negative: {value}.");

    private static CostProblem? Flops(double value, string at) => double.IsFinite(value) && value >= 0
        ? null : new CostProblem(at, $"Must be finite and not negative, is {value.ToString(CultureInfo.InvariantCulture)}.");
}
