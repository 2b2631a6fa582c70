using E2LLM.Deployment;
using E2LLM.Simulation;
using E2LLM.Simulation.Engine;

namespace E2LLM.Tests.Simulation;

/// <summary>A run allocates while its queues grow to their largest, and then no more: memory does not limit how many requests can be simulated.</summary>
public class AllocationTests
{
    private const int Warm = 1500, Measured = 1500;

    public static TheoryData<RouterKind, KvPush, KvAdmission, PrefillBatching> Policies()
    {
        var data = new TheoryData<RouterKind, KvPush, KvAdmission, PrefillBatching>();
        foreach (RouterKind router in Enum.GetValues<RouterKind>())
        {
            data.Add(router, KvPush.Overlapped, KvAdmission.Reserve, PrefillBatching.Chunked);
            data.Add(router, KvPush.AfterPrefill, KvAdmission.Paged, PrefillBatching.WholePrompts);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Policies))]
    public void Run_InTheSteadyState_AllocatesNothing(RouterKind router, KvPush push, KvAdmission admission, PrefillBatching batching)
    {
        foreach (DeploymentPlan plan in (DeploymentPlan[])[SmallDeployment.Split, SmallDeployment.Mixed, SmallDeployment.FourSingles])
        {
            var options = new SimulationOptions { Router = router, KvPush = push, KvAdmission = admission, Batching = batching, MixedPoolPromptTokens = 1024 };
            ServingSimulation simulation = ClusterSimulator.Prepare(plan, SmallDeployment.Cluster, SmallDeployment.Model, options);
            var requests = new MeasuredRequests();
            simulation.Run(requests.Draw());
            Assert.Equal(Warm + Measured, simulation.CompletedCount);
            Assert.Equal(0, requests.AllocatedBytes);
        }
    }

    // Lengths and times that repeat, at a load near saturation so that every queue is used. It notes what the thread has allocated when the simulation asks for a request.
    private sealed class MeasuredRequests
    {
        public long AllocatedBytes { get; private set; }

        public IEnumerable<SimulatedRequest> Draw()
        {
            long before = 0;
            for (int i = 0; i < Warm + Measured; i++)
            {
                if (i == Warm)
                {
                    before = GC.GetAllocatedBytesForCurrentThread();
                }

                // Bursts of five every eight seconds.
                yield return new SimulatedRequest(8 * (i / 5), 200 + (i % 5 * 60), 20 + (i % 3 * 10));
            }

            AllocatedBytes = GC.GetAllocatedBytesForCurrentThread() - before;
        }
    }
}
