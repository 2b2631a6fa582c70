namespace E2LLM.Tests.Replicas;

/// <summary>Passes everything on until it is broken; then every call fails and the other side sees the end.</summary>
internal sealed class FaultyStream(Stream inner) : Stream
{
    private readonly CancellationTokenSource _broken = new();

    public override bool CanRead => true;

    public override bool CanWrite => true;

    public override bool CanSeek => false;

    public override long Length => throw new NotSupportedException();

    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    public void Break()
    {
        _broken.Cancel();
        inner.Dispose();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _broken.Token);
        try
        {
            return await inner.ReadAsync(buffer, either.Token);
        }
        catch (Exception) when (_broken.IsCancellationRequested)
        {
            throw new IOException("Connection reset by peer.");
        }
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _broken.Token);
        try
        {
            await inner.WriteAsync(buffer, either.Token);
            await inner.FlushAsync(either.Token);
        }
        catch (Exception) when (_broken.IsCancellationRequested)
        {
            throw new IOException("Connection reset by peer.");
        }
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        inner.Dispose();
        base.Dispose(disposing);
    }
}
