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
    private readonly ReadOnlyMemory<byte> memory;
    private readonly MemoryMappedViewAccessor? accessor;
    private byte* pointer;
    private bool disposed;

    internal GgufTensorView(GgufTensor tensor, ReadOnlyMemory<byte> memory)
    {
        Tensor = tensor;
        this.memory = memory;
    }

    internal GgufTensorView(GgufTensor tensor, MemoryMappedViewAccessor accessor)
    {
        Tensor = tensor;
        this.accessor = accessor;
        accessor.SafeMemoryMappedViewHandle.AcquirePointer(ref pointer);

        // The view starts at the page that holds the tensor's first byte.
        pointer += accessor.PointerOffset;
    }

    /// <summary>Which tensor this is.</summary>
    public GgufTensor Tensor { get; }

    /// <summary>Encoded rows <c>[firstRow, firstRow + count)</c>, <see cref="GgufTensor.RowBytes"/> each.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The rows are not all in the tensor, or take 2 GiB or more.</exception>
    /// <exception cref="ObjectDisposedException">The view is disposed.</exception>
    public ReadOnlySpan<byte> Rows(long firstRow, int count)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
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
        return accessor is null ? memory.Span.Slice((int)start, bytes) : new ReadOnlySpan<byte>(pointer + start, bytes);
    }

    /// <summary>Unmaps the tensor. Spans taken from this view are invalid from here on.</summary>
    public void Dispose()
    {
        if (disposed)
        {
            return;
        }

        disposed = true;
        if (accessor is not null)
        {
            pointer = null;
            accessor.SafeMemoryMappedViewHandle.ReleasePointer();
            accessor.Dispose();
        }
    }
}
