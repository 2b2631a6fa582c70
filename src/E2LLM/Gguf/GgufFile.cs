using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.IO.MemoryMappedFiles;
using System.Text;

namespace E2LLM.Gguf;

/// <summary>
/// An open GGUF file (version 2 or 3, little-endian): its metadata, its tensor table and, on request, the bytes of single
/// tensors. Owns the file handle until disposed; <see cref="Metadata"/> and <see cref="Tensors"/> outlive it. Thread-safe.
/// </summary>
public sealed class GgufFile : IDisposable
{
    /// <summary>Magic, version and two counts come first.</summary>
    private const int PairsOffset = 4 + 4 + 8 + 8;

    private readonly ReadOnlyMemory<byte> _memory;
    private readonly FileStream? _stream;
    private readonly MemoryMappedFile? _map;
    private readonly GgufParser.Header _header;
    private readonly ReadOnlyMemory<byte> _headerBytes;
    private readonly Lazy<IReadOnlyList<GgufTensor>> _tensors;
    private bool _disposed;

    private GgufFile(GgufParser.Header header, ReadOnlyMemory<byte> headerBytes, long fileBytes)
    {
        _header = header;
        _headerBytes = headerBytes;
        FileBytes = fileBytes;
        Metadata = new GgufMetadata(headerBytes, header.Keys, header.Values);
        _tensors = new Lazy<IReadOnlyList<GgufTensor>>(() => Array.AsReadOnly(Enumerable.Range(0, header.Tensors.Length).Select(TensorAt).ToArray()));
    }

    private GgufFile(GgufParser.Header header, ReadOnlyMemory<byte> memory)
        : this(header, memory[..header.HeaderBytes], memory.Length) => _memory = memory;

    private GgufFile(GgufParser.Header header, byte[] headerBytes, long fileBytes, FileStream stream, MemoryMappedFile map)
        : this(header, headerBytes, fileBytes)
    {
        _stream = stream;
        _map = map;
    }

    /// <summary>Version of the format, 2 or 3.</summary>
    public int Version => _header.Version;

    /// <summary>Keys and values.</summary>
    public GgufMetadata Metadata { get; }

    /// <summary>The tensor table in the order of the file, which is also the order of the data.</summary>
    public IReadOnlyList<GgufTensor> Tensors => _tensors.Value;

    /// <summary>Size of the whole file in bytes.</summary>
    public long FileBytes { get; }

    /// <summary>Opens a file through a memory map. The header is copied (its size bounds what is allocated); tensor data is not touched.</summary>
    /// <param name="path">Path of the file; it may be deleted or renamed by others while open, but not shortened.</param>
    /// <param name="limits">Caps on the header; null means <see cref="GgufLimits.Default"/>.</param>
    /// <exception cref="GgufFormatException">The bytes are no valid GGUF file; the handle is closed again.</exception>
    /// <exception cref="NotSupportedException">A tensor has a type that the format did not define when this was written.</exception>
    /// <exception cref="IOException">The file cannot be opened or mapped.</exception>
    public static GgufFile Open(string path, GgufLimits? limits = null)
    {
        ArgumentNullException.ThrowIfNull(path);
        limits ??= GgufLimits.Default;
        limits.Validate();
        var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, bufferSize: 1);
        MemoryMappedFile? map = null;
        try
        {
            long fileBytes = stream.Length;
            if (fileBytes == 0)
            {
                throw new GgufFormatException(0, "magic", "the file is empty.");
            }

            map = MemoryMappedFile.CreateFromFile(
                stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
            (GgufParser.Header header, byte[] headerBytes) = ReadHeader(map, fileBytes, limits);
            return new GgufFile(header, headerBytes, fileBytes, stream, map);
        }
        catch
        {
            map?.Dispose();
            stream.Dispose();
            throw;
        }
    }

    /// <summary>Reads a file that is in memory already; nothing is copied, so <paramref name="bytes"/> must stay as it is.</summary>
    /// <param name="bytes">The whole file.</param>
    /// <param name="limits">Caps on the header; null means <see cref="GgufLimits.Default"/>.</param>
    /// <exception cref="GgufFormatException">The bytes are no valid GGUF file.</exception>
    /// <exception cref="NotSupportedException">A tensor has a type that the format did not define when this was written.</exception>
    public static GgufFile Read(ReadOnlyMemory<byte> bytes, GgufLimits? limits = null)
    {
        limits ??= GgufLimits.Default;
        limits.Validate();
        ReadOnlySpan<byte> window = bytes.Span[..Math.Min(bytes.Length, limits.MaxHeaderBytes)];
        return new GgufFile(GgufParser.Parse(window, bytes.Length, limits), bytes);
    }

    /// <summary>Alignment of tensor data in bytes.</summary>
    internal int Alignment => Metadata.TryGetInt32("general.alignment", out int alignment) ? alignment : 32;

    /// <summary>All keys and values as the file has them, one after another.</summary>
    internal ReadOnlyMemory<byte> EncodedPairs => _headerBytes[PairsOffset..(_header.Tensors.Length == 0
        ? _header.HeaderBytes
        : _header.Tensors[0].DimensionsOffset - sizeof(uint) - _header.TensorNames[_headerBytes.Span, 0].Length - sizeof(ulong))];

    /// <summary>Reads a header whose data is elsewhere: tensors cannot be opened.</summary>
    /// <param name="bytes">The first bytes of the file, at least the header; kept.</param>
    /// <param name="fileBytes">Size of the whole file, or a bound on it.</param>
    /// <param name="limits">Caps on the header.</param>
    internal static GgufFile ReadHeader(ReadOnlyMemory<byte> bytes, long fileBytes, GgufLimits limits)
    {
        GgufParser.Header header = GgufParser.Parse(bytes.Span, fileBytes, limits);
        return new GgufFile(header, bytes[..header.HeaderBytes].ToArray(), fileBytes);
    }

    /// <summary>Finds a tensor by its exact name.</summary>
    public bool TryGetTensor(string name, [NotNullWhen(true)] out GgufTensor? tensor)
    {
        ArgumentNullException.ThrowIfNull(name);
        int index = _header.TensorNames.Find(_headerBytes.Span, Encoding.UTF8.GetBytes(name));
        tensor = index < 0 ? null : Tensors[index];
        return tensor is not null;
    }

    /// <summary>Opens the bytes of one tensor; of a mapped file only its pages are mapped, until the view is disposed.</summary>
    /// <exception cref="ArgumentException">The tensor is not of this file.</exception>
    /// <exception cref="GgufFormatException">The file is shorter now than when it was opened, and the tensor no longer whole.</exception>
    /// <exception cref="ObjectDisposedException">The file is disposed.</exception>
    public GgufTensorView OpenTensor(GgufTensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (!TryGetTensor(tensor.Name, out GgufTensor? own) || !ReferenceEquals(own, tensor))
        {
            throw new ArgumentException($"Tensor '{tensor.Name}' is not of this file.", nameof(tensor));
        }

        if (_map is null)
        {
            return new GgufTensorView(tensor, _memory.Slice((int)tensor.Offset, (int)tensor.Bytes));
        }

        long nowBytes = RandomAccess.GetLength(_stream!.SafeFileHandle);
        if (tensor.Offset + tensor.Bytes > nowBytes)
        {
            throw new GgufFormatException(
                tensor.Offset, tensor.Name, $"the file had {FileBytes} bytes when it was opened and has {nowBytes} now.");
        }

        MemoryMappedViewAccessor accessor = _map.CreateViewAccessor(tensor.Offset, tensor.Bytes, MemoryMappedFileAccess.Read);
        try
        {
            return new GgufTensorView(tensor, accessor);
        }
        catch
        {
            accessor.Dispose();
            throw;
        }
    }

    /// <summary>Closes the file. Open views stay valid until they are disposed themselves.</summary>
    public void Dispose()
    {
        _disposed = true;
        _map?.Dispose();
        _stream?.Dispose();
    }

    private GgufTensor TensorAt(int index)
    {
        GgufParser.TensorEntry entry = _header.Tensors[index];
        ReadOnlySpan<byte> bytes = _headerBytes.Span;
        var dimensions = new long[entry.DimensionCount];
        for (int i = 0; i < dimensions.Length; i++)
        {
            dimensions[i] = BinaryPrimitives.ReadInt64LittleEndian(bytes[(entry.DimensionsOffset + (8 * i))..]);
        }

        string name = Encoding.UTF8.GetString(_header.TensorNames[bytes, index]);
        return new GgufTensor(name, entry.Type, Array.AsReadOnly(dimensions), entry.Offset, entry.Bytes);
    }

    /// <summary>
    /// Parses the header in the map to learn its size, then copies it and parses the copy: what is kept was checked, whatever
    /// becomes of the file meanwhile.
    /// </summary>
    private static unsafe (GgufParser.Header Header, byte[] Bytes) ReadHeader(MemoryMappedFile map, long fileBytes, GgufLimits limits)
    {
        int windowBytes = (int)Math.Min(fileBytes, limits.MaxHeaderBytes);
        using MemoryMappedViewAccessor accessor = map.CreateViewAccessor(0, windowBytes, MemoryMappedFileAccess.Read);
        byte* pointer = null;
        accessor.SafeMemoryMappedViewHandle.AcquirePointer(ref pointer);
        try
        {
            var window = new ReadOnlySpan<byte>(pointer + accessor.PointerOffset, windowBytes);
            byte[] copy = window[..GgufParser.Parse(window, fileBytes, limits).HeaderBytes].ToArray();
            return (GgufParser.Parse(copy, fileBytes, limits), copy);
        }
        finally
        {
            accessor.SafeMemoryMappedViewHandle.ReleasePointer();
        }
    }
}
