namespace E2LLM.Transfer;

/// <summary>Caps that a reader of frames believes no length beyond. Immutable; thread-safe.</summary>
public sealed record TransferLimits
{
    /// <summary>For peers of one's own cluster.</summary>
    public static TransferLimits Default { get; } = new();

    /// <summary>For peers or files of unknown origin: tighter, so that each can tie up little memory.</summary>
    public static TransferLimits Untrusted { get; } = new() { MaxFrameBytes = 8L << 20, MaxMessageBytes = 512L << 20, MaxHeaderBytes = 4 << 10 };

    /// <summary>
    /// Bytes of one frame, prefix and header included. Protects the receive buffer, which holds a whole frame before anything of it is used.
    /// Default 64 MiB; 1 KiB to 1 GiB.
    /// </summary>
    public long MaxFrameBytes { get; init; } = 64L << 20;

    /// <summary>
    /// Decoded bytes of one KV message, all its slices together. Protects the KV pool from a sequence that never ends. Default 4 GiB; at least 1 KiB.
    /// </summary>
    public long MaxMessageBytes { get; init; } = 4L << 30;

    /// <summary>Bytes of a frame's header. Protects the parser: headers are copied to be read. Default 64 KiB; 256 bytes to 1 MiB.</summary>
    public int MaxHeaderBytes { get; init; } = 64 << 10;

    /// <summary>Checks the caps.</summary>
    /// <exception cref="ArgumentOutOfRangeException">One is outside its range.</exception>
    public void Validate()
    {
        Check(MaxFrameBytes, 1 << 10, 1L << 30, nameof(MaxFrameBytes));
        Check(MaxMessageBytes, 1 << 10, long.MaxValue, nameof(MaxMessageBytes));
        Check(MaxHeaderBytes, 256, 1 << 20, nameof(MaxHeaderBytes));
    }

    private static void Check(long value, long lowest, long highest, string name)
    {
        if (value < lowest || value > highest)
        {
            throw new ArgumentOutOfRangeException(name, value, $"{name} must lie in {lowest} to {highest}.");
        }
    }
}
