using E2LLM.Costs;

namespace E2LLM.Tests.Samples;

public sealed class ProfileCommandTests
{
    [Fact]
    public async Task Profile_EmbeddedModel_GivesADeviceForAClusterFile()
    {
        string path = Path.GetTempFileName();
        try
        {
            ToolRun run = await ToolRun.Of("profile", "--model", ToolRun.Q8Model, "--threads", "1", "--name", "here", "--repeat", "1", "--out", path, "--json");
            Assert.Equal(0, run.ExitCode);
            Assert.Single(run.Out.TrimEnd('\n').Split('\n'));
            Assert.Equal("", run.Error);
            DeviceProfile device = DeviceProfile.Parse(run.Out);
            Assert.Equal(device.ToJson() + "\n", await File.ReadAllTextAsync(path));
            Cluster cluster = Cluster.Parse($$"""{ "devices": [ {{run.Out}} ] }""");
            Assert.Null(cluster.FindProblem());
            Assert.Equal("here", cluster.Devices[0].Name);

            // The model's context of 512: prefill at depth 0 only, since the largest chunk fills it; decode at 0 and 511.
            Assert.Equal((5, 10), (device.Profile!.Prefill.Count, device.Profile.Decode.Count));
        }
        finally
        {
            File.Delete(path);
        }
    }
}
