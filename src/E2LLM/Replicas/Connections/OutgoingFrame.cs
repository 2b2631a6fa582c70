using System.Buffers;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>A frame waiting to be sent. Owns its rented payload until <see cref="Release"/>.</summary>
internal readonly struct OutgoingFrame(FrameKind kind, byte[] header, byte[] payload, int payloadBytes, bool rented)
{
    public FrameKind Kind => kind;

    /// <summary>Lowest minor version that has all fields of the header.</summary>
    public byte Minor { get; init; }

    public ReadOnlyMemory<byte> Header => header;

    public ReadOnlyMemory<byte> Payload => payload.AsMemory(0, payloadBytes);

    public int TotalBytes => Frame.PrefixBytes + header.Length + payloadBytes;

    public static OutgoingFrame WithoutPayload(FrameKind kind, byte[] header) => new(kind, header, [], 0, rented: false);

    /// <summary>Takes over <paramref name="payload"/>, which came from the shared array pool.</summary>
    public static OutgoingFrame WithRented(FrameKind kind, byte[] header, byte[] payload, int payloadBytes) => new(kind, header, payload, payloadBytes, rented: true);

    public void Release()
    {
        if (rented)
        {
            ArrayPool<byte>.Shared.Return(payload);
        }
    }
}
