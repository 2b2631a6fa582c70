namespace E2LLM.Fuzz.Targets;

/// <summary>All targets: one line for each parser.</summary>
internal static class FuzzTargets
{
    public static IFuzzTarget[] All() =>
    [
        new GgufTarget(),
        new TokenizerTarget(),
        new KvMessageTarget(),
        new Lz4BlockTarget(),
        new ControlFrameTarget(),
    ];
}
