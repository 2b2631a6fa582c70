using E2LLM.Tests.Support;

namespace E2LLM.Tests.Architecture;

/// <summary>
/// The public surface changes only on purpose: PublicApi.approved.txt states it. After a wanted change run the test once with the
/// environment variable E2LLM_APPROVE=1, which rewrites the file, and commit both together.
/// </summary>
public sealed class PublicApiTests
{
    [Fact]
    public void PublicSurface_Library_IsTheApprovedOne()
    {
        string path = Repository.PathOf("tests/E2LLM.Tests/Architecture/PublicApi.approved.txt");
        string actual = PublicApi.Describe(typeof(LayerRange).Assembly);
        if (Environment.GetEnvironmentVariable("E2LLM_APPROVE") == "1")
        {
            File.WriteAllText(path, actual);
        }

        string[] approved = File.ReadAllText(path).ReplaceLineEndings("\n").Split('\n'), found = actual.Split('\n');
        Findings.AssertNone(
            found.Except(approved).Select(line => $"not approved: {line.Trim()}")
                .Concat(approved.Except(found).Select(line => $"gone: {line.Trim()}")));
        Assert.Equal(approved, found);
    }

    [Fact]
    public void PublicTypes_Classes_AreSealedOrStatic() =>
        Findings.AssertNone(typeof(LayerRange).Assembly.GetExportedTypes()
            .Where(type => type is { IsClass: true, IsSealed: false } && !typeof(Delegate).IsAssignableFrom(type))
            .Select(type => $"{type.FullName} can be inherited"));
}
