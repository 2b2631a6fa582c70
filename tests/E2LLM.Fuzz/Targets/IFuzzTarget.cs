namespace E2LLM.Fuzz.Targets;

/// <summary>One parser under random input. Create and check are apart, so that a failing input can be written to a file and checked again.</summary>
internal interface IFuzzTarget
{
    /// <summary>Name on the command line.</summary>
    string Name { get; }

    /// <summary>The next input; a function of the random numbers alone.</summary>
    byte[] CreateInput(Random random);

    /// <summary>Feeds the parser. Returns whether it took the input; throws where it did anything but take it or reject it as documented.</summary>
    bool Check(byte[] input);
}

/// <summary>What a parser must never do.</summary>
internal sealed class FuzzFailureException(string message, Exception? inner = null) : Exception(message, inner);
