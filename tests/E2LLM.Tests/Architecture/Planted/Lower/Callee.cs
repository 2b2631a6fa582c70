namespace E2LLM.Tests.Architecture.Planted.Lower;

/// <summary>The far end of the planted arrow.</summary>
internal static class Callee
{
    public static int Answer() => -3;
}
