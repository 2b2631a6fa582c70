using System.Security.Cryptography;

namespace E2LLM.Gguf;

/// <summary>
/// A GGUF file that comes over a stream, front to back: header first, then one tensor after the other. Nothing is kept of a tensor but its samples for the identity. Borrows the stream, and
/// may read a little beyond the last tensor unless the file's size is given. Not thread-safe.
/// </summary>
internal sealed class GgufStream
{
    private const int FirstPieceBytes = 64 << 10;

    private const int MostPaddingBytes = 64 << 10;

    private readonly Stream _stream;
    private readonly long _fileBytes;
    private readonly ReadOnlyMemory<byte> _ahead;
    private readonly Dictionary<string, byte[]> _samples = new(StringComparer.Ordinal);
    private long _position;

    private GgufStream(Stream stream, long fileBytes, GgufFile header, ReadOnlyMemory<byte> ahead)
    {
        _fileBytes = fileBytes;
        _stream = stream;
        _ahead = ahead;
        Header = header;
    }

    /// <summary>Metadata and tensor table. Its tensors cannot be opened.</summary>
    public GgufFile Header { get; }

    /// <summary>Reads the header, in pieces that double until it is whole.</summary>
    /// <param name="stream">Where it comes from.</param>
    /// <param name="fileBytes">Bytes of the file at most; no more are read.</param>
    /// <param name="limits">Caps on the header.</param>
    /// <exception cref="GgufFormatException">It is no valid header, or the stream ends inside it.</exception>
    public static GgufStream Open(Stream stream, long fileBytes, GgufLimits limits)
    {
        byte[] bytes = [];
        int most = (int)Math.Clamp(fileBytes, 0, limits.MaxHeaderBytes);
        for (int wanted = Math.Min(FirstPieceBytes, most); ; wanted = (int)Math.Min(2L * wanted, most))
        {
            int had = bytes.Length;
            Array.Resize(ref bytes, wanted);
            int count = had + stream.ReadAtLeast(bytes.AsSpan(had), wanted - had, throwOnEndOfStream: false);
            bool isAll = count < wanted || count == fileBytes;
            try
            {
                return new GgufStream(stream, fileBytes, GgufFile.ReadHeader(bytes.AsMemory(0, count), isAll ? count : long.MaxValue / 2, limits), bytes.AsMemory(0, count));
            }
            catch (GgufFormatException) when (!isAll && wanted < most)
            {
                // Perhaps only the rest is missing.
            }
        }
    }

    /// <summary>Reads all tensors in their order and hands each to <paramref name="take"/>, whole; the view is valid during the call.</summary>
    /// <exception cref="GgufFormatException">The stream ends early, or a slice's data is not what its checksum says.</exception>
    public void ReadTensors(Action<GgufTensorView> take, CancellationToken ct)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] buffer = [];
        foreach (GgufTensor tensor in Header.Tensors)
        {
            ct.ThrowIfCancellationRequested();
            Read(new byte[tensor.Offset - _position], tensor);
            buffer = Grow(buffer, tensor, ct);
            hash.AppendData(buffer, 0, (int)tensor.Bytes);
            using var view = new GgufTensorView(tensor, buffer.AsMemory(0, (int)tensor.Bytes));
            _samples[tensor.Name] = ModelIdentityReader.Sample(view, tensor);
            take(view);
        }

        // What goes on behind the file is another's: its padding is still the file's.
        if (_fileBytes - _position is > 0 and <= MostPaddingBytes && Header.Tensors.Count > 0)
        {
            Read(new byte[_fileBytes - _position], Header.Tensors[^1]);
        }

        if (GgufSlice.Read(Header.Metadata) is { } slice && !CryptographicOperations.FixedTimeEquals(slice.DataHash, hash.GetHashAndReset()))
        {
            throw Header.Metadata.Fault(GgufSlice.Prefix + "data_hash", "the tensors that came are not those that were sent: their checksum differs.");
        }
    }

    /// <summary>Identity of the model; after <see cref="ReadTensors"/>.</summary>
    public ModelIdentity Identity() => ModelIdentityReader.Read(Header, tensor => _samples[tensor.Name]);

    /// <summary>Fills a buffer with a tensor, growing it as bytes come: a header alone makes nobody allocate.</summary>
    private byte[] Grow(byte[] buffer, GgufTensor tensor, CancellationToken ct)
    {
        if (tensor.Bytes > Array.MaxLength)
        {
            throw new NotSupportedException($"Tensor '{tensor.Name}' has {tensor.Bytes} bytes; from a stream tensors of up to {Array.MaxLength} can be loaded.");
        }

        for (int filled = 0; filled < tensor.Bytes;)
        {
            ct.ThrowIfCancellationRequested();
            int next = (int)Math.Min(Math.Max(buffer.Length, Math.Max(2L * filled, 1 << 20)), tensor.Bytes);
            if (buffer.Length < next)
            {
                Array.Resize(ref buffer, next);
            }

            Read(buffer.AsSpan(filled, next - filled), tensor);
            filled = next;
        }

        return buffer;
    }

    private void Read(Span<byte> destination, GgufTensor tensor)
    {
        int ahead = (int)Math.Clamp(_ahead.Length - _position, 0, destination.Length);
        if (ahead > 0)
        {
            _ahead.Span.Slice((int)_position, ahead).CopyTo(destination);
        }

        int count = ahead + _stream.ReadAtLeast(destination[ahead..], destination.Length - ahead, throwOnEndOfStream: false);
        _position += count;
        if (count < destination.Length)
        {
            throw new GgufFormatException(_position, tensor.Name, $"the stream ends here; the tensor goes to byte {tensor.Offset + tensor.Bytes}.");
        }
    }
}
