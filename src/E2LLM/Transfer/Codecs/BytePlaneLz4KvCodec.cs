using System.Buffers;
using System.Buffers.Binary;

namespace E2LLM.Transfer.Codecs;

/// <summary>
/// Byte planes and LZ4 block, id 2: all first bytes of the elements, then all second ones, and so on, each plane compressed by itself or stored.
/// Sign and exponent of neighbouring elements are alike, mantissas are not; apart, the former compress. Lossless; F32, F16 and BF16.
/// Coded: per plane u32 coded length (the highest bit set where the plane is stored), then the planes. Stateless; thread-safe.
/// </summary>
public sealed class BytePlaneLz4KvCodec : IKvBlockCodec
{
    private const uint StoredBit = 0x8000_0000;

    private BytePlaneLz4KvCodec()
    {
    }

    /// <summary>The one instance.</summary>
    public static BytePlaneLz4KvCodec Instance { get; } = new();

    /// <inheritdoc/>
    public byte Id => 2;

    /// <inheritdoc/>
    public string Name => "byte-plane-lz4";

    /// <inheritdoc/>
    public bool IsLossless => true;

    /// <inheritdoc/>
    public int MaxCodedBytes(in KvBlockShape shape)
    {
        int planes = Math.Max(1, PlaneCount(shape.ElementType));
        return checked(planes * (sizeof(uint) + Lz4Block.MaxCompressedBytes((int)(shape.RawBytes / planes))));
    }

    /// <inheritdoc/>
    public int Encode(in KvBlockShape shape, ReadOnlySpan<byte> raw, Span<byte> coded)
    {
        int planes = PlaneCount(shape.ElementType);
        if (planes == 0)
        {
            return -1;
        }

        int count = raw.Length / planes, written = planes * sizeof(uint);
        byte[] rented = ArrayPool<byte>.Shared.Rent(count);
        Span<byte> plane = rented.AsSpan(0, count);
        for (int p = 0; p < planes; p++)
        {
            BytePlanes.Extract(raw, planes, p, plane);
            int bytes = Lz4Block.Compress(plane, coded[written..]);
            uint length = (uint)bytes;
            if (bytes >= count)
            {
                plane.CopyTo(coded[written..]);
                bytes = count;
                length = (uint)count | StoredBit;
            }

            BinaryPrimitives.WriteUInt32LittleEndian(coded[(p * sizeof(uint))..], length);
            written += bytes;
        }

        ArrayPool<byte>.Shared.Return(rented);
        return written;
    }

    /// <inheritdoc/>
    public bool TryDecode(in KvBlockShape shape, ReadOnlySpan<byte> coded, Span<byte> raw)
    {
        int planes = PlaneCount(shape.ElementType);
        if (planes == 0 || coded.Length < planes * sizeof(uint))
        {
            return false;
        }

        int count = raw.Length / planes;
        byte[] rented = ArrayPool<byte>.Shared.Rent(raw.Length);
        try
        {
            ReadOnlySpan<byte> rest = coded[(planes * sizeof(uint))..];
            for (int p = 0; p < planes; p++)
            {
                uint length = BinaryPrimitives.ReadUInt32LittleEndian(coded[(p * sizeof(uint))..]);
                uint bytes = length & ~StoredBit;
                if (bytes > (uint)rest.Length || !TryReadPlane(rest[..(int)bytes], (length & StoredBit) != 0, rented.AsSpan(p * count, count)))
                {
                    return false;
                }

                rest = rest[(int)bytes..];
            }

            BytePlanes.Join(rented.AsSpan(0, raw.Length), planes, raw);
            return rest.IsEmpty;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented);
        }
    }

    private static bool TryReadPlane(ReadOnlySpan<byte> coded, bool stored, Span<byte> plane)
    {
        if (!stored)
        {
            return Lz4Block.TryDecompress(coded, plane);
        }

        if (coded.Length != plane.Length)
        {
            return false;
        }

        coded.CopyTo(plane);
        return true;
    }

    /// <summary>Bytes of one element; 0 where elements are not whole bytes of one kind.</summary>
    private static int PlaneCount(KvElementType type) => type switch
    {
        KvElementType.F32 => sizeof(float),
        KvElementType.F16 or KvElementType.BF16 => sizeof(ushort),
        _ => 0,
    };
}
