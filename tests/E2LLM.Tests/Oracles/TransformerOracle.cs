using E2LLM.Tests.Support;

namespace E2LLM.Tests.Oracles;

/// <summary>The forward pass of a whole model in double precision, written straight from the formulas; shares no code with the library.</summary>
internal sealed class TransformerOracle(RandomModel model)
{
    private readonly ModelShape _shape = model.Shape;

    /// <summary>Logits after each token, <c>[tokens][VocabularySize]</c>.</summary>
    public double[] Logits(int[] ids)
    {
        double[][] x = [.. ids.Select(id => Row("token_embd.weight", id, _shape.HiddenSize))];
        for (int layer = 0; layer < _shape.LayerCount; layer++)
        {
            string prefix = $"blk.{layer}.";
            Add(x, Attention(prefix, x));
            Add(x, [.. x.Select(row => FeedForward(prefix, row))]);
        }

        string head = _shape.TiedHead ? "token_embd.weight" : "output.weight";
        return [.. x.SelectMany(row => Multiply(head, Norm(row, "output_norm.weight")))];
    }

    private double[][] Attention(string prefix, double[][] x)
    {
        double[][] normed = [.. x.Select(row => Norm(row, prefix + "attn_norm.weight"))];
        double[][][] q = [.. normed.Select((row, p) => Heads(prefix, "q", row, _shape.HeadCount, p))];
        double[][][] k = [.. normed.Select((row, p) => Heads(prefix, "k", row, _shape.KvHeadCount, p))];
        double[][][] v = [.. normed.Select(row => Split(Biased(prefix, "v", row), _shape.KvHeadCount))];
        double[][] result = new double[x.Length][];
        for (int p = 0; p < x.Length; p++)
        {
            var joined = new List<double>();
            for (int head = 0; head < _shape.HeadCount; head++)
            {
                int kv = head / _shape.HeadsPerKvHead;
                double[] scores = [.. Enumerable.Range(0, p + 1).Select(s => q[p][head].Zip(k[s][kv], (a, b) => a * b).Sum() / Math.Sqrt(_shape.HeadDim))];
                double largest = scores.Max(), sum = scores.Sum(score => Math.Exp(score - largest));
                for (int i = 0; i < _shape.HeadDim; i++)
                {
                    joined.Add(Enumerable.Range(0, p + 1).Sum(s => Math.Exp(scores[s] - largest) / sum * v[s][kv][i]));
                }
            }

            result[p] = Multiply(prefix + "attn_output.weight", [.. joined]);
        }

        return result;
    }

    private double[][] Heads(string prefix, string which, double[] row, int heads, int position)
    {
        double[][] split = Split(Biased(prefix, which, row), heads);
        if (_shape.HasQkNorm)
        {
            split = [.. split.Select(head => Norm(head, $"{prefix}attn_{which}_norm.weight"))];
        }

        return [.. split.Select(head => Rotate(head, position))];
    }

    private double[] Biased(string prefix, string which, double[] row)
    {
        double[] product = Multiply($"{prefix}attn_{which}.weight", row);
        return _shape.HasQkvBias ? [.. product.Zip(model.Tensors[$"{prefix}attn_{which}.bias"], (a, b) => a + b)] : product;
    }

    private double[] Rotate(double[] head, int position)
    {
        double[] turned = (double[])head.Clone();
        int pairs = _shape.RopeDimensionCount / 2;
        for (int i = 0; i < pairs; i++)
        {
            double factor = _shape.HasRopeFrequencyFactors ? model.Tensors["rope_freqs.weight"][i] : 1;
            double angle = position / (_shape.RopePositionDivisor * factor) * Math.Pow(_shape.RopeTheta, -(double)i / pairs);
            (int a, int b) = _shape.RopeLayout == RopeLayout.Interleaved ? (2 * i, (2 * i) + 1) : (i, i + pairs);
            turned[a] = (head[a] * Math.Cos(angle)) - (head[b] * Math.Sin(angle));
            turned[b] = (head[a] * Math.Sin(angle)) + (head[b] * Math.Cos(angle));
        }

        return turned;
    }

    private double[] FeedForward(string prefix, double[] row)
    {
        double[] normed = Norm(row, prefix + "ffn_norm.weight");
        double[] gate = Multiply(prefix + "ffn_gate.weight", normed), up = Multiply(prefix + "ffn_up.weight", normed);
        return Multiply(prefix + "ffn_down.weight", [.. gate.Zip(up, (g, u) => g / (1 + Math.Exp(-g)) * u)]);
    }

    private double[] Norm(double[] row, string weight)
    {
        double scale = 1 / Math.Sqrt((row.Sum(value => value * value) / row.Length) + _shape.RmsNormEpsilon);
        return [.. row.Zip(model.Tensors[weight], (value, w) => value * scale * w)];
    }

    private double[] Multiply(string name, double[] x)
    {
        float[] w = model.Tensors[name];
        double[] y = new double[w.Length / x.Length];
        for (int r = 0; r < y.Length; r++)
        {
            for (int c = 0; c < x.Length; c++)
            {
                y[r] += w[(r * x.Length) + c] * x[c];
            }
        }

        return y;
    }

    private double[] Row(string name, int row, int width) => [.. model.Tensors[name].Skip(row * width).Take(width).Select(value => (double)value)];

    private double[][] Split(double[] row, int heads) => [.. Enumerable.Range(0, heads).Select(head => row[(head * _shape.HeadDim)..((head + 1) * _shape.HeadDim)])];

    private static void Add(double[][] x, double[][] y)
    {
        for (int row = 0; row < x.Length; row++)
        {
            for (int i = 0; i < x[row].Length; i++)
            {
                x[row][i] += y[row][i];
            }
        }
    }
}
