using System.Runtime.InteropServices;

namespace E2LLM.Gguf;

/// <summary>Hashes byte strings with the runtime's string hash, seeded anew in each process: a file cannot choose names that collide.</summary>
internal static class Utf8Hash
{
    /// <summary>The hash of pairs of bytes as characters, then the odd byte.</summary>
    public static int Of(ReadOnlySpan<byte> text)
    {
        int hash = string.GetHashCode(MemoryMarshal.Cast<byte, char>(text));
        return (text.Length & 1) == 0 ? hash : (hash ^ (text[^1] + 1)) * -1640531527;
    }
}
