using System.Buffers.Binary;
using System.Text;

namespace E2LLM.Transfer;

/// <summary>
/// Reads the header of a frame field after field. Every read is checked against what remains, and every failure names field and offset.
/// </summary>
internal ref struct HeaderReader(ReadOnlySpan<byte> bytes, long offset)
{
    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private readonly ReadOnlySpan<byte> _bytes = bytes;
    private int _position;

    /// <summary>Offset of the next field in the stream.</summary>
    public readonly long Offset => offset + _position;

    public readonly int RemainingBytes => _bytes.Length - _position;

    public byte Byte(string field) => Take(1, field)[0];

    public ushort UInt16(string field) => BinaryPrimitives.ReadUInt16LittleEndian(Take(sizeof(ushort), field));

    public uint UInt32(string field) => BinaryPrimitives.ReadUInt32LittleEndian(Take(sizeof(uint), field));

    public ulong UInt64(string field) => BinaryPrimitives.ReadUInt64LittleEndian(Take(sizeof(ulong), field));

    /// <summary>A number that must lie in the given range; the upper half of the 32 bits never passes.</summary>
    public int Int32(string field, int lowest = 0, int highest = int.MaxValue)
    {
        long at = Offset;
        uint value = UInt32(field);
        if (value > int.MaxValue || (int)value < lowest || (int)value > highest)
        {
            throw new KvTransferException(field, at, $"{field} is {value}; expected {lowest} to {highest}.");
        }

        return (int)value;
    }

    public float Single(string field)
    {
        long at = Offset;
        float value = BitConverter.UInt32BitsToSingle(UInt32(field));
        return float.IsFinite(value) ? value : throw new KvTransferException(field, at, $"{field} is not a finite number.");
    }

    public bool Boolean(string field)
    {
        long at = Offset;
        byte value = Byte(field);
        return value <= 1 ? value == 1 : throw new KvTransferException(field, at, $"{field} is {value}; expected 0 or 1.");
    }

    public string String(string field, int maxBytes = 256)
    {
        long at = Offset;
        int count = UInt16(field);
        if (count > maxBytes)
        {
            throw new KvTransferException(field, at, $"{field} has {count} bytes; at most {maxBytes} are accepted.");
        }

        try
        {
            return StrictUtf8.GetString(Take(count, field));
        }
        catch (DecoderFallbackException)
        {
            throw new KvTransferException(field, at, $"{field} is not valid UTF-8.");
        }
    }

    public byte[] Hash(string field) => Take(ModelIdentity.HashBytes, field).ToArray();

    /// <summary>Bytes that this version gives no meaning and that must be zero.</summary>
    public void Reserved(int count, string field)
    {
        long at = Offset;
        if (Take(count, field).ContainsAnyExcept((byte)0))
        {
            throw new KvTransferException(field, at, "Reserved bytes are not zero.");
        }
    }

    /// <summary>Ends the header: only a newer minor version may have more fields than this one knows.</summary>
    public readonly void End(byte minor)
    {
        if (RemainingBytes > 0 && minor <= Frame.VersionMinor)
        {
            throw new KvTransferException("headerBytes", Offset, $"The header has {RemainingBytes} bytes too many.");
        }
    }

    private ReadOnlySpan<byte> Take(int count, string field)
    {
        if (count > RemainingBytes)
        {
            throw new KvTransferException(field, Offset, $"The header ends before {field}: {count} bytes needed, {RemainingBytes} left.");
        }

        _position += count;
        return _bytes.Slice(_position - count, count);
    }
}
