namespace E2LLM.Samples.EdgeCluster.Changes;

/// <summary>
/// Passes everything on until it has carried some keys and values, then stands still for ever: the moment in which the sample kills a
/// stage. That a connection is for keys and values is written in its first frame (WIRE_FORMAT.md, Hello).
/// </summary>
/// <param name="inner">What it wraps.</param>
/// <param name="watchesReads">Whether the dialer's bytes are those read here, or those written.</param>
/// <param name="frozen">Called once, when it stands still.</param>
internal sealed class FreezingStream(Stream inner, bool watchesReads, Action frozen) : PassingStream(inner)
{
    // The first frame's header starts with the purpose of the connection; 3 is keys and values.
    private const int PurposeOffset = 40, KeysValues = 3;

    // Behind the handshake of a few hundred bytes, and before the keys and values of a few tokens are through.
    private const int FreezeAtBytes = 1500;

    // So small that it stands still between two pieces, not after everything.
    private const int PieceBytes = 256;

    private long _carried;
    private bool _isKeysValues;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (!watchesReads)
        {
            return await Inner.ReadAsync(buffer, cancellationToken);
        }

        int count = await Inner.ReadAsync(buffer[..Math.Min(PieceBytes, buffer.Length)], cancellationToken);
        await WatchAsync(buffer[..count], cancellationToken);
        return count;
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (!watchesReads && !buffer.IsEmpty)
        {
            ReadOnlyMemory<byte> piece = buffer[..Math.Min(PieceBytes, buffer.Length)];
            await Inner.WriteAsync(piece, cancellationToken);
            await WatchAsync(piece, cancellationToken);
            buffer = buffer[piece.Length..];
        }

        await Inner.WriteAsync(buffer, cancellationToken);
    }

    private async ValueTask WatchAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        if (_carried <= PurposeOffset && _carried + bytes.Length > PurposeOffset)
        {
            _isKeysValues = bytes.Span[(int)(PurposeOffset - _carried)] == KeysValues;
        }

        _carried += bytes.Length;
        if (_isKeysValues && _carried >= FreezeAtBytes)
        {
            frozen();
            await Task.Delay(Timeout.InfiniteTimeSpan, cancellationToken);
        }
    }
}
