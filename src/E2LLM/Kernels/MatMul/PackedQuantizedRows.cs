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
    internal static long GroupBytes<TFormat>(int columns)
        where TFormat : IQuantizedFormat
    {
        long blocks = columns / BlockColumns;
        long bytes = (blocks * TFormat.QuantBytes) + (blocks * GroupRows * sizeof(ushort) * (TFormat.HasMinimum ? 2 : 1));
        return (bytes + 63) / 64 * 64;
    }

    /// <summary>Packs one group of stored rows.</summary>
    /// <param name="rows">Stored rows, <paramref name="rowBytes"/> apart.</param>
    /// <param name="rowBytes">Bytes of a stored row.</param>
    /// <param name="rowCount">Rows present, 1 to 8; the rest becomes zero.</param>
    /// <param name="columns">Elements of a row, a multiple of 32.</param>
    /// <param name="packed">The group, already zero; may not overlap <paramref name="rows"/>.</param>
    internal static void PackGroup<TFormat>(byte* rows, long rowBytes, int rowCount, int columns, byte* packed)
        where TFormat : IQuantizedFormat
    {
        int blocks = columns / BlockColumns;
        long storedBytes = rowBytes / blocks;
        ushort* scales = Scales<TFormat>(packed, columns), minima = Minima<TFormat>(scales, blocks);
        for (int block = 0; block < blocks; block++)
        {
            for (int row = 0; row < rowCount; row++)
            {
                byte* stored = rows + (row * rowBytes) + (block * storedBytes);
                scales[(block * GroupRows) + row] = *(ushort*)stored;
                if (TFormat.HasMinimum)
                {
                    minima[(block * GroupRows) + row] = *(ushort*)(stored + sizeof(ushort));
                }

                TFormat.Pack(stored + TFormat.StoredQuantsOffset, row, packed + ((long)block * TFormat.QuantBytes));
            }
        }
    }

    /// <summary>One stored row out of a group: the inverse of <see cref="PackGroup"/>, bit for bit.</summary>
    internal static void UnpackRow<TFormat>(byte* packed, int row, int columns, byte* stored, long rowBytes)
        where TFormat : IQuantizedFormat
    {
        int blocks = columns / BlockColumns;
        long storedBytes = rowBytes / blocks;
        ushort* scales = Scales<TFormat>(packed, columns), minima = Minima<TFormat>(scales, blocks);
        for (int block = 0; block < blocks; block++, stored += storedBytes)
        {
            *(ushort*)stored = scales[(block * GroupRows) + row];
            if (TFormat.HasMinimum)
            {
                *(ushort*)(stored + sizeof(ushort)) = minima[(block * GroupRows) + row];
            }

            TFormat.Unpack(packed + ((long)block * TFormat.QuantBytes), row, stored + TFormat.StoredQuantsOffset);
        }
    }

    /// <summary>The group's scales.</summary>
    internal static ushort* Scales<TFormat>(byte* packed, int columns)
        where TFormat : IQuantizedFormat => (ushort*)(packed + ((long)(columns / BlockColumns) * TFormat.QuantBytes));

    /// <summary>The group's minima; only where the format has them.</summary>
    internal static ushort* Minima<TFormat>(ushort* scales, int blocks)
        where TFormat : IQuantizedFormat => scales + (blocks * GroupRows);
}
