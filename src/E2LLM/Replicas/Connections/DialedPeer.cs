using System.Security.Cryptography;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>An open connection whose handshake succeeded.</summary>
internal readonly record struct DialedPeer(PeerConnection Connection, WelcomeMessage Welcome)
{
    /// <summary>Opens a stream, says hello, waits for the answer. Afterwards <paramref name="handler"/> takes the frames.</summary>
    /// <exception cref="PeerLostException">The peer could not be reached, went away, or did not answer in time.</exception>
    /// <exception cref="HandshakeRejectedException">The peer refused.</exception>
    public static async Task<DialedPeer> OpenAsync(
        PeerConnector connect, HelloMessage hello, ConnectionOptions options, FrameHandler handler, CancellationToken cancellationToken)
    {
        string peer = hello.To;
        Stream stream = await ConnectAsync(connect, peer, options, cancellationToken).ConfigureAwait(false);
        var connection = new PeerConnection(stream, peer, options);
        var answer = new TaskCompletionSource<WelcomeMessage>(TaskCreationOptions.RunContinuationsAsynchronously);
        try
        {
            hello = hello with { Nonce = NewNonce() };
            connection.Start(OnAnswer);
            connection.Send(hello.ToFrame());
            Task ended = connection.Completion;
            Task first = await Task.WhenAny(answer.Task, ended).WaitAsync(cancellationToken).ConfigureAwait(false);
            if (first == ended && !answer.Task.IsCompleted)
            {
                throw connection.Error ?? new PeerLostException(peer, -1, PeerLossReason.Closed, "it closed the connection.");
            }

            return new DialedPeer(connection, await answer.Task.ConfigureAwait(false));
        }
        catch
        {
            await connection.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        void OnAnswer(in Frame frame)
        {
            if (frame.Kind == FrameKind.Welcome)
            {
                WelcomeMessage welcome = WelcomeMessage.Read(frame);
                connection.UseNonce(Combine(hello.Nonce, welcome.Nonce));
                connection.HandOver(handler);
                answer.TrySetResult(welcome);
            }
            else if (frame.Kind == FrameKind.Reject)
            {
                RejectMessage reject = RejectMessage.Read(frame);
                answer.TrySetException(new HandshakeRejectedException(peer, reject.Reason, reject.Differences));
            }
            else
            {
                throw new KvTransferException("kind", frame.Offset + 6, $"Expected a welcome, found a frame of kind {frame.Kind}.");
            }
        }
    }

    /// <summary>A random number that is never zero: zero means that the handshake is not over.</summary>
    public static ulong NewNonce()
    {
        ulong nonce;
        do
        {
            nonce = BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(sizeof(ulong)));
        }
        while (nonce == 0);
        return nonce;
    }

    /// <summary>The connection's nonce out of both sides' contributions; never zero.</summary>
    public static ulong Combine(ulong dialer, ulong acceptor) => (dialer ^ acceptor) is var nonce && nonce != 0 ? nonce : 1;

    private static async Task<Stream> ConnectAsync(PeerConnector connect, string peer, ConnectionOptions options, CancellationToken cancellationToken)
    {
        using var late = new CancellationTokenSource(options.PeerTimeout, options.TimeProvider);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(late.Token, cancellationToken);
        Task<Stream>? connecting = null;
        Stream? stream = null;
        try
        {
            connecting = connect(peer, either.Token).AsTask();
            return stream = await connecting.WaitAsync(either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            throw;
        }
        catch (OperationCanceledException) when (late.IsCancellationRequested)
        {
            var timeout = new TimeoutException($"no stream could be opened within {options.PeerTimeout.TotalSeconds:0.###} s.");
            throw new PeerLostException(peer, -1, PeerLossReason.TimedOut, timeout.Message, timeout);
        }
        catch (Exception error)
        {
            // Also a cancellation that is nobody's here: the host has a time limit of its own.
            throw new PeerLostException(peer, -1, PeerLossReason.Unreachable, error.Message, error);
        }
        finally
        {
            if (stream is null && connecting is not null)
            {
                _ = DisposeLateAsync(connecting);
            }
        }
    }

    /// <summary>A host that heeds no token may still come with a stream that nobody waits for any more.</summary>
    private static async Task DisposeLateAsync(Task<Stream> connecting)
    {
        try
        {
            Stream late = await connecting.ConfigureAwait(false);
            await late.DisposeAsync().ConfigureAwait(false);
        }
        catch (Exception error) when (error is not OutOfMemoryException)
        {
            // It failed after we had given up, which we have told.
        }
    }
}
