namespace E2LLM.Replicas;

/// <summary>
/// Opens a two-way stream to a device. The host supplies it: this library opens no socket and knows no address. Called again after a stream was
/// lost; may be called from several threads. The stream belongs to the caller, which disposes it. For TCP switch Nagle's delay off.
/// </summary>
/// <param name="peer">Name of the device, as in the plan.</param>
/// <param name="cancellationToken">Set when the stream is no longer wanted.</param>
public delegate ValueTask<Stream> PeerConnector(string peer, CancellationToken cancellationToken);
