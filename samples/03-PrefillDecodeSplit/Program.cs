// One executor reads the prompt, another generates: keys and values move between them as bytes.
// usage: PrefillDecodeSplit [MODEL.gguf]
using System.Buffers;
using E2LLM;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Sampling;
using E2LLM.Tokenization;
using E2LLM.Transfer;
using E2LLM.Weights;

string model = args.Length > 0 ? args[0] : Path.Combine(AppContext.BaseDirectory, "tinytales-3.9m-q8_0.gguf");
const string Prompt = "Lily and Ben were playing in the garden. They saw a big";
using GgufFile file = GgufFile.Open(model);
ModelShape shape = ModelShapeReader.Read(file);
ModelIdentity identity = ModelIdentityReader.Read(file);
ITokenizer tokenizer = TokenizerLoader.Load(file.Metadata);
int[] prompt = [.. tokenizer.Encode(Prompt)];

// On the prefill device: all tokens but the last go through the layers, and what attention has to remember becomes a message.
var message = new ArrayBufferWriter<byte>();
using (ModelWeights weights = ModelWeights.Load(model))
using (var prefill = new LayerRangeExecutor(weights))
using (KvCache kv = prefill.CreateSequence())
{
    Forward(prefill, kv, prompt[..^1]);
    KvTransferWriter.Write(message, kv, identity, prompt.AsSpan(..^1));
}

Console.Error.WriteLine($"{prompt.Length - 1} tokens of the prompt became {message.WrittenCount:N0} bytes of keys and values");

// On the decode device: the message is checked (this model? these tokens? not a bit damaged?) and taken in as a whole, or not at all.
using ModelWeights decodeWeights = ModelWeights.Load(model);
using var decode = new LayerRangeExecutor(decodeWeights);
using KvCache received = decode.CreateSequence();
new KvTransferReader(new ReadOnlySequence<byte>(message.WrittenMemory)).Import(received, identity, prompt.AsSpan(..^1));

Console.Write(Prompt);
ITokenDecoder decoder = tokenizer.CreateDecoder();
foreach (int id in prompt)
{
    decoder.Append(id);
}

float[] logits = new float[shape.VocabularySize];
for (int count = 0, next = prompt[^1]; count < 60; count++)
{
    decode.ComputeLogits(Forward(decode, received, [next]), logits);
    next = Sampler.Sample(logits, new SamplingOptions(), position: received.Length);
    Console.Write(decoder.Append(next));
    if (tokenizer.IsEndOfGeneration(next))
    {
        break;
    }
}

Console.WriteLine(decoder.Flush());

float[] Forward(LayerRangeExecutor executor, KvCache kv, int[] ids)
{
    float[] hidden = new float[ids.Length * shape.HiddenSize];
    executor.Embed(ids, hidden);
    executor.Forward([new SequenceSlice(kv, ids.Length)], hidden);
    return hidden;
}
