using System.Buffers;
using System.Globalization;
using System.Text;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Tokenization;
using E2LLM.Transfer;
using E2LLM.Transfer.Codecs;
using E2LLM.Weights;

namespace E2LLM.Benchmarks.KvTransfer;

/// <summary>
/// What a codec does to a model's answers: the prompt's keys and values go through it once, as between a prefill and a decode replica, then the passage's own next tokens are fed (teacher
/// forcing) and the logits at each are compared with those over the untouched cache.
/// </summary>
internal static class KvQuality
{
    private const int PromptTokens = 192, ForcedTokens = 64, MostPassages = 17, RandomPassages = 2;

    public static void Write(StringBuilder report, string text, string[] models)
    {
        report.AppendLine("## Quality").AppendLine();
        report.AppendLine(CultureInfo.InvariantCulture, $"Prompts of {PromptTokens} tokens travel by a codec; then {ForcedTokens} tokens of the passage are fed and each position's logits compared with those over the untouched cache.")
            .AppendLine("Passages do not overlap. top-1: share of positions whose best token is the same; KL: Kullback-Leibler divergence from the untouched distribution, nats; NMSE: squared error over squared")
            .AppendLine("size of keys and values. int4 leaves the first 4 and last 64 positions exact; its size counts them. Models named 1b have random weights").AppendLine();
        report.AppendLine("| model | elements | codec | positions | times smaller | top-1 | KL mean | KL worst | NMSE keys | NMSE values |").AppendLine("|---|---|---|---|---|---|---|---|---|---|");
        foreach (string path in models)
        {
            Write(report, text, path);
        }

        report.AppendLine();
    }

    private static void Write(StringBuilder report, string text, string path)
    {
        using GgufFile file = GgufFile.Open(path);
        ModelIdentity model = ModelIdentityReader.Read(file);
        ModelShape shape = model.Shape;
        using ModelWeights weights = ModelWeights.Load(file, shape, new LayerRange(0, shape.LayerCount), true, true);
        int[][] passages = Passages(file, shape, text);
        foreach ((KvElementType type, IKvBlockCodec codec) in new[]
        {
            (KvElementType.BF16, ExponentKvCodec.Instance), (KvElementType.F16, QuantizedKvCodec.Int8), (KvElementType.BF16, QuantizedKvCodec.Int8), (KvElementType.F16, (IKvBlockCodec)QuantizedKvCodec.Int4),
        })
        {
            using var executor = new LayerRangeExecutor(weights, new ExecutorOptions { KvElementType = type, KvBlockCount = 16 });
            var sum = new Tally();
            foreach (int[] passage in passages)
            {
                Compare(executor, model, codec, passage, sum);
            }

            report.AppendLine(CultureInfo.InvariantCulture,
                $"| {Path.GetFileNameWithoutExtension(path)} | {type} | {codec.Name} | {sum.Positions} | {(double)sum.RawBytes / sum.CodedBytes:F2} | {100.0 * sum.Same / sum.Positions:F2} % | {sum.Divergence / sum.Positions:0.0E+0} | {sum.Worst:0.0E+0} | {sum.KeyError / sum.KeySize:0.0E+0} | {sum.ValueError / sum.ValueSize:0.0E+0} |");
        }
    }

    /// <summary>Pieces of the text; random tokens where the vocabulary is no real one.</summary>
    private static int[][] Passages(GgufFile file, ModelShape shape, string text)
    {
        int length = PromptTokens + ForcedTokens;
        if (file.Metadata.TryGetString("tokenizer.ggml.model", out _))
        {
            ITokenizer tokenizer = TokenizerLoader.Load(file.Metadata);
            int bos = tokenizer.Encode("", addBos: true, parseSpecial: false).FirstOrDefault(-1);
            IReadOnlyList<int> ids = tokenizer.Encode(text, addBos: false, parseSpecial: false);
            int own = bos < 0 ? length : length - 1;
            return [.. Enumerable.Range(0, Math.Min(MostPassages, ids.Count / own)).Select(i => (int[])[.. bos < 0 ? [] : new[] { bos }, .. ids.Skip(i * own).Take(own)])];
        }

        var random = new Random(1);
        return [.. Enumerable.Range(0, RandomPassages).Select(_ => (int[])[.. Enumerable.Range(0, length).Select(_ => random.Next(shape.VocabularySize))])];
    }

    private static void Compare(LayerRangeExecutor executor, ModelIdentity model, IKvBlockCodec codec, int[] passage, Tally sum)
    {
        int[] prompt = passage[..PromptTokens], forced = passage[PromptTokens..];
        using KvCache kept = executor.CreateSequence(), moved = executor.CreateSequence();
        Forward(executor, kept, prompt);
        var output = new ArrayBufferWriter<byte>();
        using (var writer = new KvTransferWriter(output, KvTransferHeader.For(1, model, prompt, kept.Layout), codec))
        {
            writer.WriteAll(kept);
        }

        new KvTransferReader(new ReadOnlySequence<byte>(output.WrittenMemory)).Import(moved, model, prompt);
        sum.RawBytes += PromptTokens * kept.Layout.PositionBytes;
        sum.CodedBytes += output.WrittenCount;
        AddErrors(kept, moved, sum);
        float[] exact = Logits(executor, Forward(executor, kept, forced)), changed = Logits(executor, Forward(executor, moved, forced));
        int vocabulary = executor.Shape.VocabularySize;
        for (int i = 0; i < forced.Length; i++)
        {
            ReadOnlySpan<float> p = exact.AsSpan(i * vocabulary, vocabulary), q = changed.AsSpan(i * vocabulary, vocabulary);
            sum.Positions++;
            sum.Same += Best(p) == Best(q) ? 1 : 0;
            double divergence = Divergence(p, q);
            sum.Divergence += divergence;
            sum.Worst = Math.Max(sum.Worst, divergence);
        }
    }

    private static float[] Forward(LayerRangeExecutor executor, KvCache sequence, int[] ids)
    {
        float[] hidden = new float[ids.Length * executor.Shape.HiddenSize];
        executor.Embed(ids, hidden);
        executor.Forward([new SequenceSlice(sequence, ids.Length)], hidden);
        return hidden;
    }

    private static float[] Logits(LayerRangeExecutor executor, float[] hidden)
    {
        float[] logits = new float[hidden.Length / executor.Shape.HiddenSize * executor.Shape.VocabularySize];
        executor.ComputeLogits(hidden, logits);
        return logits;
    }

    private static int Best(ReadOnlySpan<float> logits)
    {
        int best = 0;
        for (int i = 1; i < logits.Length; i++)
        {
            best = logits[i] > logits[best] ? i : best;
        }

        return best;
    }

    private static double Divergence(ReadOnlySpan<float> exact, ReadOnlySpan<float> changed)
    {
        double p = LogSum(exact), q = LogSum(changed), sum = 0;
        for (int i = 0; i < exact.Length; i++)
        {
            double logP = exact[i] - p;
            sum += Math.Exp(logP) * (logP - (changed[i] - q));
        }

        return Math.Max(sum, 0);

        static double LogSum(ReadOnlySpan<float> logits)
        {
            double most = double.NegativeInfinity, sum = 0;
            foreach (float logit in logits)
            {
                most = Math.Max(most, logit);
            }

            foreach (float logit in logits)
            {
                sum += Math.Exp(logit - most);
            }

            return most + Math.Log(sum);
        }
    }

    private static void AddErrors(KvCache kept, KvCache moved, Tally sum)
    {
        byte[] left = new byte[PromptTokens * kept.Layout.TokenBytes], right = new byte[left.Length];
        for (int layer = kept.Layout.Layers.Start; layer < kept.Layout.Layers.End; layer++)
        {
            kept.ReadKeys(layer, 0, PromptTokens, left);
            moved.ReadKeys(layer, 0, PromptTokens, right);
            (double error, double size) = Errors(kept.Layout.ElementType, left, right);
            (sum.KeyError, sum.KeySize) = (sum.KeyError + error, sum.KeySize + size);
            kept.ReadValues(layer, 0, PromptTokens, left);
            moved.ReadValues(layer, 0, PromptTokens, right);
            (error, size) = Errors(kept.Layout.ElementType, left, right);
            (sum.ValueError, sum.ValueSize) = (sum.ValueError + error, sum.ValueSize + size);
        }
    }

    private static (double Error, double Size) Errors(KvElementType type, byte[] left, byte[] right)
    {
        double error = 0, size = 0;
        for (int i = 0; i < left.Length; i += sizeof(ushort))
        {
            double x = Number(left, i), y = Number(right, i);
            error += (x - y) * (x - y);
            size += x * x;
        }

        return (error, size);

        double Number(byte[] bytes, int at) => type == KvElementType.F16
            ? (double)BitConverter.ToHalf(bytes, at)
            : BitConverter.UInt32BitsToSingle((uint)BitConverter.ToUInt16(bytes, at) << 16);
    }

    private sealed class Tally
    {
        public long Positions { get; set; }

        public long Same { get; set; }

        public double Divergence { get; set; }

        public double Worst { get; set; }

        public long RawBytes { get; set; }

        public long CodedBytes { get; set; }

        public double KeyError { get; set; }

        public double KeySize { get; set; }

        public double ValueError { get; set; }

        public double ValueSize { get; set; }
    }
}
