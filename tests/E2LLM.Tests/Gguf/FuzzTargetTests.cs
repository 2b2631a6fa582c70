using E2LLM.Fuzz.Targets;

namespace E2LLM.Tests.Gguf;

/// <summary>Each fuzz target over inputs of a fixed seed; the exe runs as many more as one asks for.</summary>
public class FuzzTargetTests
{
    public static TheoryData<string> Targets => [.. FuzzTargets.All().Select(target => target.Name)];

    [Theory]
    [MemberData(nameof(Targets))]
    public void Check_SeededInputs_OnlyTakesOrRejects(string name)
    {
        IFuzzTarget target = FuzzTargets.All().Single(each => each.Name == name);
        long taken = FuzzRun.Run(target, seed: 20_260_101, iterations: 20_000);

        // Neither all nor none: mutations must reach beyond the first check.
        Assert.InRange(taken, 100, 20_000);
    }
}
