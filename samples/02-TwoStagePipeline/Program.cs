// Two executors, each with half of the layers, make one model: what stages of a pipeline do, without a network between them.
// usage: TwoStagePipeline [MODEL.gguf]
using E2LLM;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Sampling;
using E2LLM.Tokenization;
using E2LLM.Weights;

string model = args.Length > 0 ? args[0] : Path.Combine(AppContext.BaseDirectory, "tinytales-3.9m-q8_0.gguf");
using GgufFile file = GgufFile.Open(model);
ModelShape shape = ModelShapeReader.Read(file);
ITokenizer tokenizer = TokenizerLoader.Load(file.Metadata);
int middle = shape.LayerCount / 2;

// Each stage reads its own layers from the file and nothing else; the first also the embedding, the last also the head.
using ModelWeights firstWeights = ModelWeights.Load(model, new LayerRange(0, middle));
using ModelWeights lastWeights = ModelWeights.Load(model, new LayerRange(middle, shape.LayerCount));
using var first = new LayerRangeExecutor(firstWeights);
using var last = new LayerRangeExecutor(lastWeights);
Console.Error.WriteLine($"layers {first.Layers}: {firstWeights.Memory.TotalBytes / 1e6:F1} MB; layers {last.Layers}: {lastWeights.Memory.TotalBytes / 1e6:F1} MB");

// Each stage keeps the keys and values of its own layers.
using KvCache firstKv = first.CreateSequence();
using KvCache lastKv = last.CreateSequence();
float[] logits = new float[shape.VocabularySize];
ITokenDecoder decoder = tokenizer.CreateDecoder();
int[] ids = [.. tokenizer.Encode("Once upon a time")];
Console.Write("Once upon a time");
foreach (int id in ids)
{
    decoder.Append(id);
}

for (int count = 0; count < 60; count++)
{
    // The hidden states, [ids.Length, HiddenSize] row by row, are all that moves from stage to stage.
    float[] hidden = new float[ids.Length * shape.HiddenSize];
    first.Embed(ids, hidden);
    first.Forward([new SequenceSlice(firstKv, ids.Length)], hidden);
    last.Forward([new SequenceSlice(lastKv, ids.Length)], hidden);
    last.ComputeLogits(hidden.AsSpan(^shape.HiddenSize..), logits);

    int next = Sampler.Sample(logits, new SamplingOptions(), position: lastKv.Length);
    Console.Write(decoder.Append(next));
    if (tokenizer.IsEndOfGeneration(next))
    {
        break;
    }

    ids = [next];
}

Console.WriteLine(decoder.Flush());
