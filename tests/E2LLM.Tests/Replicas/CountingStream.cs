using E2LLM.Samples;

namespace E2LLM.Tests.Replicas;

/// <summary>Passes everything on and tells how many bytes were written.</summary>
internal sealed class CountingStream(Stream inner, Action<int> written) : PassingStream(inner)
{
    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        await base.WriteAsync(buffer, cancellationToken);
        written(buffer.Length);
    }
}
