using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>
/// Takes the frames of one connection, one at a time. The frame's bytes live only during the call. A <see cref="KvTransferException"/> thrown
/// here ends the connection as damaged.
/// </summary>
internal delegate void FrameHandler(in Frame frame);
