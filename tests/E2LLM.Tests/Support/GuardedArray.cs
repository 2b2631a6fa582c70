using System.Runtime.InteropServices;

namespace E2LLM.Tests.Support;

/// <summary>
/// Native memory whose end (or start) lies against a page that nobody may touch, so that a kernel which reads or writes one element too far ends the test
/// process. Where there is no mmap the memory is plain.
/// </summary>
internal sealed unsafe partial class GuardedArray<T> : IDisposable
    where T : unmanaged
{
    private readonly nint _map;
    private readonly nuint _mapBytes;

    public GuardedArray(int length, bool guardBefore = false)
    {
        Length = length;
        nuint page = (nuint)Environment.SystemPageSize, bytes = (nuint)length * (nuint)sizeof(T), body = (bytes + page - 1) / page * page;
        if (!OperatingSystem.IsLinux())
        {
            _map = (nint)NativeMemory.AllocZeroed(bytes + 1);
            Pointer = (T*)_map;
            return;
        }

        const int ReadWrite = 3, PrivateAnonymous = 0x22;
        _mapBytes = body + (2 * page);
        _map = Libc.mmap(0, _mapBytes, ReadWrite, PrivateAnonymous, -1, 0);
        Assert.NotEqual(-1, _map);
        Assert.Equal(0, Libc.mprotect(_map, page, 0));
        Assert.Equal(0, Libc.mprotect(_map + (nint)page + (nint)body, page, 0));
        Pointer = (T*)(_map + (nint)page + (guardBefore ? 0 : (nint)(body - bytes)));
    }

    public GuardedArray(ReadOnlySpan<T> values, bool guardBefore = false)
        : this(values.Length, guardBefore) => values.CopyTo(Span);

    public T* Pointer { get; }

    public int Length { get; }

    public Span<T> Span => new(Pointer, Length);

    public void Dispose()
    {
        if (_mapBytes == 0)
        {
            NativeMemory.Free((void*)_map);
        }
        else
        {
            _ = Libc.munmap(_map, _mapBytes);
        }
    }
}

/// <summary>The three calls that make guard pages.</summary>
internal static partial class Libc
{
    [LibraryImport("libc")]
    internal static partial nint mmap(nint address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc")]
    internal static partial int mprotect(nint address, nuint length, int protection);

    [LibraryImport("libc")]
    internal static partial int munmap(nint address, nuint length);
}
