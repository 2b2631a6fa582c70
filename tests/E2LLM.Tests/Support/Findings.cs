namespace E2LLM.Tests.Support;

/// <summary>For tests that look through the whole repository: all findings at once, each in a line.</summary>
internal static class Findings
{
    public static void AssertNone(IEnumerable<string> findings)
    {
        string text = string.Join(Environment.NewLine, findings);
        Assert.True(text.Length == 0, text);
    }
}
