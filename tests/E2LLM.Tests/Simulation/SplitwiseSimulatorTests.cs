using System.Globalization;
using E2LLM.Simulation.SplitwiseSim;
using E2LLM.Tests.Support;
using Xunit.Abstractions;

namespace E2LLM.Tests.Simulation;

/// <summary>Golden files: the per-request outputs of the unmodified splitwise-sim.</summary>
public class SplitwiseSimulatorTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData("bloom176b_baseline_h100x1_token-jsq_test")]
    [InlineData("bloom176b_splitwise-HA_1p1t_mixed-pool_test")]
    [InlineData("llama70b_baseline_h100x1_token-jsq_ref_conv_2")]
    [InlineData("llama70b_baseline_h100x4_token-jsq_ref_conv_8")]
    [InlineData("llama70b_splitwise-HA_1p1t_mixed-pool_ref_code_2")]
    [InlineData("llama70b_splitwise-HA_1p1t_mixed-pool_ref_conv_2")]
    [InlineData("llama70b_splitwise-HA_2p2t_mixed-pool_ref_conv_20")]
    [InlineData("llama70b_splitwise-HH_2p2t_mixed-pool_ref_code_8")]
    [InlineData("llama70b_splitwise-HH_2p2t_mixed-pool_ref_conv_20")]
    [InlineData("llama70b_splitwise-HH_2p2t_mixed-pool_ref_conv_8")]
    public void Run_OfAReferenceTrace_EqualsEveryRequestOfTheOriginal(string stem)
    {
        if (SharedData.Find("data/traces/splitwise-sim") is not { } folder)
        {
            output.WriteLine("skipped: no ../shared");
            return;
        }

        SplitwiseFixture fixture = SplitwiseFixture.Load(folder, stem);
        double worst = 0;
        foreach ((SplitwiseOutcome expected, SplitwiseOutcome actual) in fixture.Expected.Zip(fixture.Run()))
        {
            Assert.Equal(expected.Id, actual.Id);
            Assert.Equal(expected.PromptRunner, actual.PromptRunner);
            Assert.Equal(expected.TokenRunner, actual.TokenRunner);
            worst = Math.Max(worst, SplitwiseFixture.LargestDifference(expected, actual));
        }

        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{fixture.Expected.Count} requests, largest difference {worst:E2} s"));
        Assert.InRange(worst, 0, 1e-6);
    }
}
