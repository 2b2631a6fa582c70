using System.Xml.Linq;
using E2LLM.Deployment;

namespace E2LLM.Tests.Deployment;

public sealed class DeploymentPlanTextTests
{
    private static readonly DeploymentPlan Plan = new()
    {
        Planner = "exact",
        ModelName = "m<1>",
        Objective = new PlanObjective { Kind = "capacity", Value = 2, Bound = 2, Proved = true },
        Replicas =
        [
            new ReplicaPlan
            {
                Name = "r0",
                Role = ReplicaRole.Prefill,
                PrefillShare = 1,
                PrefillTokensPerSecond = 100,
                Bottleneck = new PlanBottleneck { Kind = "stage", At = "b", Seconds = 0.5 },
                Stages =
                [
                    new StagePlan { Device = "a", Layers = new LayerRange(0, 1), Embedding = true, MemoryBytes = 5000 },
                    new StagePlan { Device = "b", Layers = new LayerRange(1, 4), Head = true, MemoryBytes = 5_000_000 },
                ],
            },
            new ReplicaPlan
            {
                Name = "r1",
                Role = ReplicaRole.Decode,
                DecodeSlots = 4,
                Stages = [new StagePlan { Device = "c&d", Layers = new LayerRange(0, 4), Embedding = true, Head = true }],
            },
        ],
        UnusedDevices = ["e"],
    };

    [Fact]
    public void Draw_Plan_ShowsStagesAsBarsAndMarksTheBottleneck()
    {
        string text = DeploymentPlanText.Draw(Plan);
        Assert.Contains("capacity 2, proved best", text, StringComparison.Ordinal);
        Assert.Contains("    a      |##########..............................| layers [0, 1) +embedding 5000 B", text, StringComparison.Ordinal);
        Assert.Contains("   *b      |..........##############################| layers [1, 4) +head 5000 kB", text, StringComparison.Ordinal);
        Assert.Contains("unused: e", text, StringComparison.Ordinal);
    }

    [Fact]
    public void DrawSvg_NamesWithMarkup_IsWellFormed()
    {
        XDocument svg = XDocument.Parse(DeploymentPlanText.DrawSvg(Plan));
        Assert.Equal(4, svg.Descendants().Count(item => item.Name.LocalName == "rect"));
    }

    [Fact]
    public void DrawMermaid_TwoRoles_LinksThemByKv() =>
        Assert.Contains("R0 -. KV .-> R1", DeploymentPlanText.DrawMermaid(Plan), StringComparison.Ordinal);
}
