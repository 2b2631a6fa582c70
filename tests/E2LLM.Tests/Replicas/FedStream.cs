using System.Threading.Channels;
using E2LLM.Samples;

namespace E2LLM.Tests.Replicas;

/// <summary>
/// Delivers what it is fed; feeding ends when the reader asks for more, so that nothing depends on when threads run. What is written to it is lost, or
/// never taken.
/// </summary>
internal sealed class FedStream(bool takesWrites) : PassingStream(Null)
{
    public const int PieceBytes = 4096;
    private static readonly TimeSpan Guard = TimeSpan.FromSeconds(20);
    private readonly Channel<ReadOnlyMemory<byte>> _pieces = Channel.CreateUnbounded<ReadOnlyMemory<byte>>();
    private readonly SemaphoreSlim _asked = new(0);

    /// <summary>Delivers some bytes and waits until they were dealt with.</summary>
    public async Task FeedAsync(ReadOnlyMemory<byte> bytes)
    {
        for (int at = 0; at < bytes.Length; at += PieceBytes)
        {
            await _asked.WaitAsync(Guard);
            _pieces.Writer.TryWrite(bytes.Slice(at, Math.Min(PieceBytes, bytes.Length - at)));
            await _asked.WaitAsync(Guard);
            _asked.Release();
        }
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        _asked.Release();
        ReadOnlyMemory<byte> piece = await _pieces.Reader.ReadAsync(cancellationToken);
        piece.CopyTo(buffer);
        return piece.Length;
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (!takesWrites)
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, cancellationToken);
        }
    }
}
