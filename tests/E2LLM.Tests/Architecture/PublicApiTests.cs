using System.Reflection;
using E2LLM.Extensions.AI;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Architecture;

/// <summary>
/// The public surface changes only on purpose: a file for each package states it. After a wanted change run the test once with the
/// environment variable E2LLM_APPROVE=1, which rewrites the file, and commit both together.
/// </summary>
public sealed class PublicApiTests
{
    public static TheoryData<string, Type> Packages => new()
    {
        { "PublicApi.approved.txt", typeof(LayerRange) },
        { "PublicApi.Extensions.AI.approved.txt", typeof(E2LLMChatClient) },
    };

    [Theory]
    [MemberData(nameof(Packages))]
    public void PublicSurface_Package_IsTheApprovedOne(string file, Type any)
    {
        string path = Repository.PathOf($"tests/E2LLM.Tests/Architecture/{file}");
        string actual = PublicApi.Describe(any.Assembly);
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

    [Theory]
    [MemberData(nameof(Packages))]
    public void PublicTypes_Classes_AreSealedOrStatic(string file, Type any) =>
        Findings.AssertNone(any.Assembly.GetExportedTypes()
            .Where(type => type is { IsClass: true, IsSealed: false } && !typeof(Delegate).IsAssignableFrom(type))
            .Select(type => $"{type.FullName} can be inherited, and {file} would promise it"));

    [Theory]
    [MemberData(nameof(Packages))]
    public void PublicMethods_ThatCanBeCancelled_TakeTheTokenLastAndUnderOneName(string file, Type any) =>
        Findings.AssertNone(
            from type in any.Assembly.GetExportedTypes()
            from method in type.GetMethods(BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly)
            where method.Name is not ("BeginInvoke" or "EndInvoke")
            from parameter in method.GetParameters()
            where parameter.ParameterType == typeof(CancellationToken)
            where parameter.Name != "cancellationToken" || parameter.Position != method.GetParameters().Length - 1
            select $"{file}: {type.FullName}.{method.Name} has {parameter.Name}");
}
