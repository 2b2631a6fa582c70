namespace E2LLM.Planning.Partitioning;

/// <summary>
/// The split of a model over devices in a given order with the fastest slowest stage: Algorithm 1 ("DP Pipe") of E2LLM (arXiv 2606.03770) as published,
/// <c>f[k][i] = min over j &lt; i of max(f[k-1][j], stage(k, j..i), hop(k-1))</c>, in O(devices * layers^2). Stateless; thread-safe.
/// </summary>
internal static class PipelineDp
{
    /// <summary>Number of layers of each stage, every stage at least one, or null where no split fits.</summary>
    /// <param name="stageCount">Devices in order.</param>
    /// <param name="layerCount">Layers to place.</param>
    /// <param name="stageSeconds">Seconds of stage k with layers [j, i): positive infinity where they do not fit it.</param>
    /// <param name="hopSeconds">Seconds of the hop behind stage k.</param>
    /// <param name="bottleneck">Seconds of the slowest stage or hop.</param>
    public static int[]? Split(
        int stageCount, int layerCount, Func<int, int, int, double> stageSeconds, Func<int, double> hopSeconds, out double bottleneck)
    {
        bottleneck = double.PositiveInfinity;
        if (stageCount < 1 || stageCount > layerCount)
        {
            return null;
        }

        int width = layerCount + 1;
        var f = new double[(stageCount + 1) * width];
        var cut = new int[(stageCount + 1) * width];
        Array.Fill(f, double.PositiveInfinity);
        f[0] = 0;
        for (int k = 1; k <= stageCount; k++)
        {
            double hop = k > 1 ? hopSeconds(k - 2) : 0;
            for (int i = k; i <= layerCount - (stageCount - k); i++)
            {
                for (int j = i - 1; j >= k - 1; j--)
                {
                    double stage = stageSeconds(k - 1, j, i), before = f[((k - 1) * width) + j];
                    double value = Math.Max(Math.Max(before, stage), hop);
                    if (value < f[(k * width) + i])
                    {
                        f[(k * width) + i] = value;
                        cut[(k * width) + i] = j;
                    }
                }
            }
        }

        bottleneck = f[(stageCount * width) + layerCount];
        if (double.IsPositiveInfinity(bottleneck))
        {
            return null;
        }

        var layers = new int[stageCount];
        int end = layerCount;
        for (int k = stageCount; k >= 1; k--)
        {
            int start = cut[(k * width) + end];
            layers[k - 1] = end - start;
            end = start;
        }

        return layers;
    }
}
