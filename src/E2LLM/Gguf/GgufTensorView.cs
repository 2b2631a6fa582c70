using System.IO.MemoryMappedFiles;

namespace E2LLM.Gguf;

/// <summary>
/// The encoded bytes of one tensor. Of a mapped file it maps the tensor's pages only, from creation to
/// <see cref="Dispose"/>; spans taken from it must not be used after that. Reading is thread-safe; disposing while another
/// thread reads is not. A file that shrinks while a view of it is open makes the operating system end the process (SIGBUS)
/// when a vanished page is touched: no managed code can catch that, so keep model files in place while they are loaded.
/// </summary>
public sealed unsafe class GgufTensorView : IDisposable
{
    private readonly ReadOnlyMemory<byte> _memory;
    private readonly MemoryMappedViewAccessor? _accessor;
    private byte* _pointer;
    private bool _disposed;

    internal GgufTensorView(GgufTensor tensor, ReadOnlyMemory<byte> memory)
    {
        Tensor = tensor;
        _memory = memory;
    }

    internal GgufTensorView(GgufTensor tensor, MemoryMappedViewAccessor accessor)
    {
        Tensor = tensor;
        _accessor = accessor;
        accessor.SafeMemoryMappedViewHandle.AcquirePointer(ref _pointer);

        // The view starts at the page that holds the tensor's first byte.
        _pointer += accessor.PointerOffset;
    }

    /// <summary>Which tensor this is.</summary>
    public GgufTensor Tensor { get; }

    /// <summary>Encoded rows <c>[firstRow, firstRow + count)</c>, <see cref="GgufTensor.RowBytes"/> each.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The rows are not all in the tensor, or take 2 GiB or more.</exception>
    /// <exception cref="ObjectDisposedException">The view is disposed.</exception>
    public ReadOnlySpan<byte> Rows(long firstRow, int count)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ArgumentOutOfRangeException.ThrowIfNegative(firstRow);
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(firstRow, Tensor.RowCount);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, Tensor.RowCount - firstRow);
        long rowBytes = Tensor.RowBytes;
        if (rowBytes != 0 && count > int.MaxValue / rowBytes)
        {
            throw new ArgumentOutOfRangeException(
                nameof(count), count, $"{count} rows of {rowBytes} bytes are more than a span can hold; take fewer rows at once.");
        }

        long start = firstRow * rowBytes;
        int bytes = (int)(count * rowBytes);
        return _accessor is null ? _memory.Span.Slice((int)start, bytes) : new ReadOnlySpan<byte>(_pointer + start, bytes);
    }

    /// <summary>Unmaps the tensor. Spans taken from this view are invalid from here on.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        if (_accessor is not null)
        {
            _pointer = null;
            _accessor.SafeMemoryMappedViewHandle.ReleasePointer();
            _accessor.Dispose();
        }
    }
}
