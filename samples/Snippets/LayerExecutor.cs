using E2LLM.Execution;
using E2LLM.KvCaching;
using E2LLM.Weights;

namespace E2LLM.Samples.Snippets;

/// <summary>Some layers of a model, run by the program itself.</summary>
internal static class LayerExecutor
{
    public static float[] Run(string modelPath, int[] ids)
    {
        using ModelWeights weights = ModelWeights.Load(modelPath, new LayerRange(0, 3));
        using var executor = new LayerRangeExecutor(weights);
        using KvCache kv = executor.CreateSequence();
        float[] hidden = new float[ids.Length * executor.Shape.HiddenSize];
        executor.Embed(ids, hidden);
        executor.Forward([new SequenceSlice(kv, ids.Length)], hidden);
        return hidden;
    }
}
