using System.Runtime.InteropServices;

namespace E2LLM.Benchmarks;

/// <summary>The reference LZ4 library, where the machine has it, to be raced in the same run.</summary>
internal static unsafe partial class Lz4Library
{
    public static bool IsAvailable { get; } = NativeLibrary.TryLoad("liblz4.so.1", out _);

    [LibraryImport("liblz4.so.1", EntryPoint = "LZ4_compress_default")]
    public static partial int Compress(byte* source, byte* destination, int sourceBytes, int destinationBytes);

    [LibraryImport("liblz4.so.1", EntryPoint = "LZ4_decompress_safe")]
    public static partial int Decompress(byte* source, byte* destination, int sourceBytes, int destinationBytes);
}
