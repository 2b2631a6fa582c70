using System.Diagnostics;
using E2LLM.Samples;

namespace E2LLM.Replicas.Report;

/// <summary>The rate of a link; may change at any time. Infinite until set.</summary>
internal sealed class LinkRate
{
    private double _bytesPerSecond = double.PositiveInfinity;

    public double BytesPerSecond
    {
        get => Volatile.Read(ref _bytesPerSecond);
        set => Volatile.Write(ref _bytesPerSecond, value);
    }
}

/// <summary>A link of a stated rate: bytes leave one after another, and a write is done when its last byte has left. Reads are not held back.</summary>
internal sealed class ThrottledStream(Stream inner, LinkRate rate) : PassingStream(inner)
{
    private const int PieceBytes = 16 << 10;
    private static readonly long LateTicks = Stopwatch.Frequency / 50;
    private long _freeAt;

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (buffer.Length > 0)
        {
            ReadOnlyMemory<byte> piece = buffer[..Math.Min(PieceBytes, buffer.Length)];
            buffer = buffer[piece.Length..];
            if (double.IsFinite(rate.BytesPerSecond))
            {
                // The link is busy with one piece after another. A timer that fires late is caught up with; idle time beyond that is lost.
                long now = Stopwatch.GetTimestamp();
                _freeAt = Math.Max(_freeAt, now - LateTicks) + (long)(piece.Length / rate.BytesPerSecond * Stopwatch.Frequency);
                TimeSpan wait = Stopwatch.GetElapsedTime(now, _freeAt);
                if (wait > TimeSpan.FromMilliseconds(2))
                {
                    await Task.Delay(wait, cancellationToken);
                }
            }

            await base.WriteAsync(piece, cancellationToken);
        }
    }
}
