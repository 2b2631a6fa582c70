namespace E2LLM.Tests.Architecture.Planted.Upper;

/// <summary>Refers to another namespace in a method body and nowhere else: the arrow test must see it.</summary>
internal static class Caller
{
    public static int Answer() => Math.Abs(Lower.Callee.Answer());
}
