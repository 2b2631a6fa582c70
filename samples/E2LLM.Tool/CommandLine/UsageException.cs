namespace E2LLM.Tool.CommandLine;

/// <summary>The call itself is wrong in a way that no single option shows.</summary>
internal sealed class UsageException(string message) : Exception(message);
