using System.Runtime.CompilerServices;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// How quantised rows lie after loading: groups of 16 rows, each its blocks of 32 columns one after another, so that a product reads one stream; a block is its quants (as its
/// layout says), then the rows' half-precision scales <c>[16]</c>, then minima likewise where the format has them. The last group is filled
/// up with zero rows, and every group starts on a cache line.
/// </summary>
internal static unsafe class PackedQuantizedRows
{
    /// <summary>Rows per group: four bytes of each fill a cache line and the widest vector.</summary>
    internal const int GroupRows = 16;

    /// <summary>Columns per block.</summary>
    internal const int BlockColumns = 32;

    /// <summary>Bytes of one block of 16 rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int BlockBytes<TLayout, TFormat>()
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout> => TLayout.QuantBytes + (GroupRows * HeadBytes<TLayout, TFormat>());

    /// <summary>Bytes of one group.</summary>
    internal static long GroupBytes<TLayout, TFormat>(int columns)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout> => (((long)(columns / BlockColumns) * BlockBytes<TLayout, TFormat>()) + 63) / 64 * 64;

    /// <summary>Packs one group of stored rows.</summary>
    /// <param name="rows">Stored rows, <paramref name="rowBytes"/> apart.</param>
    /// <param name="rowBytes">Bytes of a stored row.</param>
    /// <param name="rowCount">Rows present, 1 to 16; the rest stays zero.</param>
    /// <param name="columns">Elements of a row, a multiple of 32.</param>
    /// <param name="packed">The group, already zero; may not overlap <paramref name="rows"/>.</param>
    internal static void PackGroup<TLayout, TFormat>(byte* rows, long rowBytes, int rowCount, int columns, byte* packed)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
    {
        byte* values = stackalloc byte[BlockColumns];
        int blocks = columns / BlockColumns;
        long storedBytes = blocks == 0 ? 0 : rowBytes / blocks;
        for (int block = 0; block < blocks; block++, packed += BlockBytes<TLayout, TFormat>())
        {
            for (int row = 0; row < rowCount; row++)
            {
                byte* stored = rows + (row * rowBytes) + (block * storedBytes);
                Scales<TLayout>(packed)[row] = *(ushort*)stored;
                if (TFormat.HasMinimum)
                {
                    Minima<TLayout>(packed)[row] = *(ushort*)(stored + sizeof(ushort));
                }

                TFormat.Decode(stored + HeadBytes<TLayout, TFormat>(), values);
                TLayout.Put(values, row, packed);
            }
        }
    }

    /// <summary>One stored row out of a group: the inverse of <see cref="PackGroup"/>, bit for bit.</summary>
    internal static void UnpackRow<TLayout, TFormat>(byte* packed, int row, int columns, byte* stored, long rowBytes)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
    {
        int blocks = columns / BlockColumns;
        byte* values = stackalloc byte[BlockColumns];
        long storedBytes = blocks == 0 ? 0 : rowBytes / blocks;
        for (int block = 0; block < blocks; block++, stored += storedBytes, packed += BlockBytes<TLayout, TFormat>())
        {
            *(ushort*)stored = Scales<TLayout>(packed)[row];
            if (TFormat.HasMinimum)
            {
                *(ushort*)(stored + sizeof(ushort)) = Minima<TLayout>(packed)[row];
            }

            for (int column = 0; column < BlockColumns; column++)
            {
                values[column] = (byte)TLayout.Get(packed, row, column);
            }

            TFormat.Encode(values, stored + HeadBytes<TLayout, TFormat>());
        }
    }

    /// <summary>A block's scales.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static ushort* Scales<TLayout>(byte* block)
        where TLayout : IQuantLayout => (ushort*)(block + TLayout.QuantBytes);

    /// <summary>A block's minima; only where the format has them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static ushort* Minima<TLayout>(byte* block)
        where TLayout : IQuantLayout => Scales<TLayout>(block) + GroupRows;

    /// <summary>Bytes of scale and minimum, stored and packed alike.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int HeadBytes<TLayout, TFormat>()
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout> => TFormat.HasMinimum ? 2 * sizeof(ushort) : sizeof(ushort);
}
