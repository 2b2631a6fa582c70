using E2LLM.Costs;
using E2LLM.Simulation;

namespace E2LLM.Tests.Simulation;

/// <summary>Reports written and read back; what is not a report is refused with its place.</summary>
public class ServingReportJsonTests
{
    [Theory]
    [InlineData(60)]
    [InlineData(1)]
    public void Parse_OfWhatWasWritten_WritesTheSameBytes(int outputTokens)
    {
        string json = Written(outputTokens);

        ServingReport read = ServingReport.Parse(json);

        Assert.Equal(json, read.ToJson());
        Assert.Empty(read.Requests);
        Assert.Equal(4, read.Utilisation.Count);
    }

    [Fact]
    public void Parse_WithACommentAndDroppedRequests_ReadsThem()
    {
        string json = Written(2).Replace("\"seed\": 7", "\"comment\": \"a run\", \"dropped\": 3, \"seed\": 7", StringComparison.Ordinal);

        Assert.Equal((3, 7UL), (ServingReport.Parse(json).DroppedCount, ServingReport.Parse(json).Seed));
    }

    [Theory]
    [InlineData("\"requests\": 20", "\"requests\": -1", "$.requests")]
    [InlineData("\"requests\": 20", "\"requests\": 2.5", "$.requests")]
    [InlineData("\"requests\": 20,", "", "$.requests")]
    [InlineData("\"seed\": 7", "\"seed\": -7", "$.seed")]
    [InlineData("\"seed\": 7", "\"seed\": 7, \"sede\": 7", "$")]
    [InlineData("\"router\": \"jsq-wait\"", "\"router\": 3", "$.router")]
    [InlineData("\"prefillQueue\"", "\"prefilQueue\"", "$.waitingSeconds")]
    [InlineData("\"ttftSeconds\": {", "\"ttftSeconds\": { \"max\": 1,", "$.ttftSeconds")]
    [InlineData("\"ttftSeconds\": {", "\"ttftSeconds\": [], \"x\": {", "$.ttftSeconds")]
    [InlineData("\"stage\": 0", "\"stage\": -1", "$.utilisation[0].stage")]
    [InlineData("{", "[", "$")]
    public void Parse_OfAnotherText_NamesThePlace(string from, string to, string path)
    {
        string json = Written(60);
        int at = json.IndexOf(from, StringComparison.Ordinal);

        var error = Assert.Throws<DescriptionFormatException>(() => ServingReport.Parse(json[..at] + to + json[(at + from.Length)..]));

        Assert.StartsWith(path, error.Path, StringComparison.Ordinal);
    }

    [Fact]
    public void Parse_OfEveryBeginning_IsRefused()
    {
        string json = Written(60).TrimEnd();
        for (int length = 0; length < json.Length; length += 7)
        {
            Assert.Throws<DescriptionFormatException>(() => ServingReport.Parse(json[..length]));
        }
    }

    private static string Written(int outputTokens) => ClusterSimulator.Run(
        SmallDeployment.Split, SmallDeployment.Cluster, SmallDeployment.Model,
        [.. Enumerable.Range(0, 20).Select(i => new SimulatedRequest(0.3 * i, 200, outputTokens))], new SimulationOptions { Seed = 7 }).ToJson();
}
