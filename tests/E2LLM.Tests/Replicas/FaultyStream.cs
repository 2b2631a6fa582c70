using E2LLM.Samples;

namespace E2LLM.Tests.Replicas;

/// <summary>Passes everything on until it is broken; then every call fails and the other side sees the end.</summary>
internal sealed class FaultyStream(Stream inner) : PassingStream(inner)
{
    private readonly CancellationTokenSource _broken = new();

    public void Break()
    {
        _broken.Cancel();
        Inner.Dispose();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _broken.Token);
        try
        {
            return await Inner.ReadAsync(buffer, either.Token);
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
            await Inner.WriteAsync(buffer, either.Token);
            await Inner.FlushAsync(either.Token);
        }
        catch (Exception) when (_broken.IsCancellationRequested)
        {
            throw new IOException("Connection reset by peer.");
        }
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
