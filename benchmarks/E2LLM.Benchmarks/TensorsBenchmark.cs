using System.Diagnostics;
using System.Numerics.Tensors;
using E2LLM.Kernels.Elementwise;
using E2LLM.Sampling;

namespace E2LLM.Benchmarks;

/// <summary>
/// System.Numerics.Tensors beside loops of our own, in turn: over the logits of a vocabulary, where the library uses it, and over a row of activations, where it
/// uses its own kernels. Medians of 25 pairs, on one thread, and how a token is chosen with it in all.
/// </summary>
internal static unsafe class TensorsBenchmark
{
    private const int PairCount = 25, VocabularySize = 151_936, Width = 4096;
    private static readonly TimeSpan WarmUp = TimeSpan.FromMilliseconds(600);
    private static double _sink;

    public static void Run()
    {
        var random = new Random(7);
        float[] logits = [.. Enumerable.Range(0, VocabularySize).Select(_ => (float)(random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5) * 8)];
        float[] row = new float[Width], gain = new float[Width], result = new float[Width];
        Array.Fill(gain, 1f);
        logits.AsSpan(0, Width).CopyTo(row);
        double largest = logits.Max();

        Compare("largest of 151,936 logits", 20, () => _sink += BestByLoop(logits), () => _sink += TensorPrimitives.IndexOfMax<float>(logits));
        Compare("sum of their exponentials", 4, () => _sink += SumByLoop(logits, largest, 0.8), () => _sink += Exponentials.Sum(logits, largest, 0.8));
        fixed (float* x = row, g = gain, y = result)
        {
            (nint X, nint G, nint Y) at = ((nint)x, (nint)g, (nint)y);
            Compare("RMS norm of 4,096", 2000, () => RmsNorm.Run((float*)at.X, (float*)at.G, Width, 1e-5f, (float*)at.Y), () => NormByTensors(row, gain, result));
            Compare("addition of 4,096", 2000, () => AddTo.Run((float*)at.X, Width, (float*)at.Y), () => TensorPrimitives.Add(result, row, result));
        }

        foreach ((string name, SamplingOptions options) in new (string, SamplingOptions)[]
        {
            ("greedy", new()),
            ("temperature 0.8", new() { Temperature = 0.8f }),
            ("temperature 0.8, top-k 40", new() { Temperature = 0.8f, TopK = 40 }),
            ("temperature 0.8, top-p 0.95", new() { Temperature = 0.8f, TopP = 0.95f }),
            ("greedy, log-probabilities", new() { LogProbabilities = true, TopLogProbabilityCount = 5 }),
        })
        {
            int position = 0;
            Heat(() => Sampler.Choose(logits, options, position++));
            (double least, double median) = Clock.Seconds(PairCount, () => Sampler.Choose(logits, options, position++));
            Console.WriteLine($"choose, {name,-28} {least * 1e3,9:F3} ms | {median * 1e3,9:F3} ms   (least | median)");
        }
    }

    /// <summary>A B A B ..., each warmed up before.</summary>
    private static void Compare(string name, int rounds, Action loop, Action tensors)
    {
        Heat(loop);
        Heat(tensors);
        double[] ours = new double[PairCount], theirs = new double[PairCount], ratios = new double[PairCount];
        for (int pair = 0; pair < PairCount; pair++)
        {
            ours[pair] = Seconds(loop, rounds);
            theirs[pair] = Seconds(tensors, rounds);
            ratios[pair] = ours[pair] / theirs[pair];
        }

        Console.WriteLine($"{name,-36} own {Median(ours) * 1e6,9:F2} us | tensors {Median(theirs) * 1e6,9:F2} us | {Median(ratios):F2} times as fast by tensors");
    }

    private static void Heat(Action action)
    {
        for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start) < WarmUp;)
        {
            action();
        }
    }

    private static double Seconds(Action action, int rounds)
    {
        long start = Stopwatch.GetTimestamp();
        for (int round = 0; round < rounds; round++)
        {
            action();
        }

        return Stopwatch.GetElapsedTime(start).TotalSeconds / rounds;
    }

    private static double Median(double[] values) => values.Order().ElementAt(values.Length / 2);

    private static int BestByLoop(ReadOnlySpan<float> logits)
    {
        int best = 0;
        for (int id = 0; id < logits.Length; id++)
        {
            float logit = logits[id];
            if (float.IsNaN(logit) || float.IsPositiveInfinity(logit))
            {
                throw new ArithmeticException();
            }

            if (logit > logits[best])
            {
                best = id;
            }
        }

        return best;
    }

    private static double SumByLoop(ReadOnlySpan<float> logits, double largest, double temperature)
    {
        double sum = 0;
        foreach (float logit in logits)
        {
            sum += Math.Exp((logit - largest) / temperature);
        }

        return sum;
    }

    private static void NormByTensors(ReadOnlySpan<float> x, ReadOnlySpan<float> gain, Span<float> result)
    {
        float scale = 1f / MathF.Sqrt((TensorPrimitives.SumOfSquares(x) / x.Length) + 1e-5f);
        TensorPrimitives.Multiply(x, scale, result);
        TensorPrimitives.Multiply(result, gain, result);
    }
}
