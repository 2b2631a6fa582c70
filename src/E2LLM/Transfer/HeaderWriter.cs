using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace E2LLM.Transfer;

/// <summary>Builds the header of a frame, little-endian, field after field. Reusable after <see cref="Clear"/>; not thread-safe.</summary>
internal sealed class HeaderWriter
{
    private readonly ArrayBufferWriter<byte> _bytes = new(128);

    public ReadOnlySpan<byte> Written => _bytes.WrittenSpan;

    public void Clear() => _bytes.ResetWrittenCount();

    public byte[] ToArray() => _bytes.WrittenSpan.ToArray();

    public HeaderWriter Byte(byte value)
    {
        _bytes.GetSpan(1)[0] = value;
        _bytes.Advance(1);
        return this;
    }

    public HeaderWriter UInt16(int value)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(_bytes.GetSpan(sizeof(ushort)), checked((ushort)value));
        _bytes.Advance(sizeof(ushort));
        return this;
    }

    public HeaderWriter Int32(int value)
    {
        BinaryPrimitives.WriteInt32LittleEndian(_bytes.GetSpan(sizeof(int)), value);
        _bytes.Advance(sizeof(int));
        return this;
    }

    public HeaderWriter UInt32(uint value) => Int32(unchecked((int)value));

    public HeaderWriter UInt64(ulong value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(_bytes.GetSpan(sizeof(ulong)), value);
        _bytes.Advance(sizeof(ulong));
        return this;
    }

    public HeaderWriter Single(float value) => Int32(BitConverter.SingleToInt32Bits(value));

    public HeaderWriter Bytes(ReadOnlySpan<byte> value)
    {
        _bytes.Write(value);
        return this;
    }

    /// <summary>A 16-bit byte count and UTF-8.</summary>
    public HeaderWriter String(string value)
    {
        int count = Encoding.UTF8.GetByteCount(value);
        UInt16(count);
        Encoding.UTF8.GetBytes(value, _bytes.GetSpan(Math.Max(count, 1)));
        _bytes.Advance(count);
        return this;
    }
}
