using System.IO.Pipes;
using System.Runtime.CompilerServices;

namespace E2LLM.Samples.Snippets;

/// <summary>Streams between devices of one machine: the library takes any, so a sample may take the simplest.</summary>
internal static class NamedPipes
{
    public static async IAsyncEnumerable<Stream> AcceptAsync(string device, [EnumeratorCancellation] CancellationToken ct)
    {
        while (true)
        {
            var pipe = new NamedPipeServerStream(
                NameOf(device), PipeDirection.InOut, NamedPipeServerStream.MaxAllowedServerInstances, PipeTransmissionMode.Byte,
                PipeOptions.Asynchronous | PipeOptions.CurrentUserOnly);
            try
            {
                await pipe.WaitForConnectionAsync(ct);
            }
            catch
            {
                await pipe.DisposeAsync();
                throw;
            }

            yield return pipe;
        }
    }

    public static async ValueTask<Stream> ConnectAsync(string device, CancellationToken ct)
    {
        var pipe = new NamedPipeClientStream(".", NameOf(device), PipeDirection.InOut, PipeOptions.Asynchronous | PipeOptions.CurrentUserOnly);
        try
        {
            await pipe.ConnectAsync(ct);
            return pipe;
        }
        catch
        {
            await pipe.DisposeAsync();
            throw;
        }
    }

    private static string NameOf(string device) => $"e2llm-{Environment.ProcessId}-{device}";
}
