namespace E2LLM.Kernels.MatMul;

/// <summary>
/// How quantised rows lie after loading: groups of 8 rows; a group holds the quants of its blocks of 32 columns one after another (each as its format
/// says), then the blocks' half-precision scales <c>[block][8]</c>, then minima likewise where the format has them. The last group is filled
/// up with zero rows, and every group starts on a cache line.
/// </summary>
internal static unsafe class PackedQuantizedRows
{
    /// <summary>Rows per group: four bytes of each fill 256 bits.</summary>
    internal const int GroupRows = 8;

    /// <summary>Columns per block.</summary>
    internal const int BlockColumns = 32;

    /// <summary>Bytes of one group.</summary>
    internal static long GroupBytes<TLayout, TFormat>(int columns)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
    {
        long blocks = columns / BlockColumns;
        long bytes = (blocks * TLayout.QuantBytes) + (blocks * GroupRows * HeadBytes<TLayout, TFormat>());
        return (bytes + 63) / 64 * 64;
    }

    /// <summary>Packs one group of stored rows.</summary>
    /// <param name="rows">Stored rows, <paramref name="rowBytes"/> apart.</param>
    /// <param name="rowBytes">Bytes of a stored row.</param>
    /// <param name="rowCount">Rows present, 1 to 8; the rest stays zero.</param>
    /// <param name="columns">Elements of a row, a multiple of 32.</param>
    /// <param name="packed">The group, already zero; may not overlap <paramref name="rows"/>.</param>
    internal static void PackGroup<TLayout, TFormat>(byte* rows, long rowBytes, int rowCount, int columns, byte* packed)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
    {
        byte* values = stackalloc byte[BlockColumns];
        int blocks = columns / BlockColumns;
        long storedBytes = blocks == 0 ? 0 : rowBytes / blocks;
        ushort* scales = Scales<TLayout>(packed, columns), minima = Minima(scales, blocks);
        for (int block = 0; block < blocks; block++)
        {
            for (int row = 0; row < rowCount; row++)
            {
                byte* stored = rows + (row * rowBytes) + (block * storedBytes), quants = packed + ((long)block * TLayout.QuantBytes);
                scales[(block * GroupRows) + row] = *(ushort*)stored;
                if (TFormat.HasMinimum)
                {
                    minima[(block * GroupRows) + row] = *(ushort*)(stored + sizeof(ushort));
                }

                TFormat.Decode(stored + HeadBytes<TLayout, TFormat>(), values);
                TLayout.Put(values, row, quants);
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
        ushort* scales = Scales<TLayout>(packed, columns), minima = Minima(scales, blocks);
        for (int block = 0; block < blocks; block++, stored += storedBytes)
        {
            *(ushort*)stored = scales[(block * GroupRows) + row];
            if (TFormat.HasMinimum)
            {
                *(ushort*)(stored + sizeof(ushort)) = minima[(block * GroupRows) + row];
            }

            byte* quants = packed + ((long)block * TLayout.QuantBytes);
            for (int column = 0; column < BlockColumns; column++)
            {
                values[column] = (byte)TLayout.Get(quants, row, column);
            }

            TFormat.Encode(values, stored + HeadBytes<TLayout, TFormat>());
        }
    }

    /// <summary>The group's scales.</summary>
    internal static ushort* Scales<TLayout>(byte* packed, int columns)
        where TLayout : IQuantLayout => (ushort*)(packed + ((long)(columns / BlockColumns) * TLayout.QuantBytes));

    /// <summary>The group's minima; only where the format has them.</summary>
    internal static ushort* Minima(ushort* scales, int blocks) => scales + (blocks * GroupRows);

    /// <summary>Bytes of scale and minimum, stored and packed alike.</summary>
    private static int HeadBytes<TLayout, TFormat>()
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout> => TFormat.HasMinimum ? 2 * sizeof(ushort) : sizeof(ushort);
}
