using E2LLM.Costs;
using E2LLM.Planning;
using E2LLM.Planning.Clustering;
using E2LLM.Planning.Partitioning;

namespace E2LLM.Tests.Planning;

public sealed class PipelineDpTests
{
    [Fact]
    public void Split_RandomCosts_EqualsBruteForce()
    {
        for (ulong seed = 1; seed <= 2000; seed++)
        {
            var random = new RandomInstances(seed);
            int stages = 1 + random.Next(4), layers = stages + random.Next(12 - stages);
            var costs = new double[stages, layers + 1];
            var limits = new int[stages];
            double[] hops = [.. Enumerable.Range(0, stages).Select(_ => random.NextDouble() * 0.5)];
            for (int k = 0; k < stages; k++)
            {
                limits[k] = 1 + random.Next(layers);
                for (int i = 0; i < layers; i++)
                {
                    costs[k, i + 1] = costs[k, i] + random.NextDouble();
                }
            }

            double Stage(int k, int start, int end) => end - start > limits[k] ? double.PositiveInfinity : costs[k, end] - costs[k, start];
            int[]? split = PipelineDp.Split(stages, layers, Stage, k => hops[k], out double bottleneck);
            double expected = double.PositiveInfinity;
            foreach (int[] candidate in BruteForce.Splits(layers, stages))
            {
                expected = Math.Min(expected, Slowest(candidate));
            }

            Assert.Equal(expected, bottleneck);
            Assert.Equal(double.IsPositiveInfinity(expected), split is null);
            if (split is not null)
            {
                Assert.Equal(layers, split.Sum());
                Assert.Equal(expected, Slowest(split));
            }

            double Slowest(int[] candidate)
            {
                double worst = 0;
                int start = 0;
                for (int k = 0; k < candidate.Length; k++)
                {
                    worst = Math.Max(worst, Stage(k, start, start += candidate[k]));
                    worst = Math.Max(worst, k > 0 ? hops[k - 1] : 0);
                }

                return worst;
            }
        }
    }

    [Fact]
    public void ThresholdSplit_Prefill_EqualsAlgorithm1OverOrdersAndMasters()
    {
        for (ulong seed = 1; seed <= 300; seed++)
        {
            var random = new RandomInstances(seed);
            Cluster cluster = random.Cluster(1 + random.Next(4), 0.5);
            ModelCost model = random.Model(4 + random.Next(9));
            var problem = new PlanningProblem(cluster, model, random.Workload(), new PlannerOptions());
            int count = problem.Devices.Length, layers = model.LayerCount;
            var rates = new GroupRates(problem);
            double rate = rates.Prefill(0, Array.ConvertAll(problem.Classes, item => item.Devices.Length), 0).Rate, expected = 0;
            RoleTable table = rates.PrefillTable;
            foreach (int[] order in BruteForce.Orders([.. Enumerable.Range(0, count)]))
            {
                PipelineDp.Split(count, layers, (k, start, end) => Stage(table, order[k], end - start, k == 0, k == count - 1), _ => table.HopBusy, out double slowest);
                expected = Math.Max(expected, double.IsPositiveInfinity(slowest) ? 0 : 1 / slowest);
            }

            Assert.True(Math.Abs(rate - expected) <= 1e-9 * expected, $"seed {seed}: {rate} against {expected}");
        }
    }

    private static double Stage(RoleTable table, int k, int layers, bool first, bool last)
    {
        int variant = (first ? RoleTable.Embedding : 0) | (last ? RoleTable.Head : 0);
        double seconds = table.Fixed[variant][k] + (layers * table.Layer[k]), port = (layers * table.PortPerLayer) + (last ? 0 : table.HopBusy);
        return layers > table.Capacity[variant][k] ? double.PositiveInfinity : Math.Max(seconds, port);
    }
}
