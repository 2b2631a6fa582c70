namespace E2LLM.Kernels.MatMul;

/// <summary>
/// How rows of plain floats lie after loading: groups of 16 rows, each <c>[column][16]</c>, so that a vector of lanes is one load. The last
/// group is filled up with zero rows. Elements keep their stored encoding (2 or 4 bytes). Halves lie otherwise: <see cref="PackedHalfRows"/>.
/// </summary>
internal static unsafe class PackedFloatRows
{
    /// <summary>Rows per group: the lanes of the widest vector.</summary>
    internal const int GroupRows = 16;

    /// <summary>Copies one group in: <c>packed[column * 16 + row] = rows[row][column]</c>.</summary>
    /// <param name="rows">Stored rows, <paramref name="rowBytes"/> apart.</param>
    /// <param name="rowBytes">Bytes of a stored row.</param>
    /// <param name="rowCount">Rows present, 1 to 16; the rest becomes zero.</param>
    /// <param name="columns">Elements of a row.</param>
    /// <param name="elementBytes">2 or 4.</param>
    /// <param name="packed">The group, <c>columns * 16 * elementBytes</c> bytes; may not overlap <paramref name="rows"/>.</param>
    internal static void PackGroup(byte* rows, long rowBytes, int rowCount, int columns, int elementBytes, byte* packed)
    {
        if (elementBytes == sizeof(ushort))
        {
            Pack<ushort>(rows, rowBytes, rowCount, columns, (ushort*)packed);
        }
        else
        {
            Pack<uint>(rows, rowBytes, rowCount, columns, (uint*)packed);
        }
    }

    /// <summary>Copies one row of a group out again: the inverse of <see cref="PackGroup"/>.</summary>
    internal static void UnpackRow(byte* packed, int row, int columns, int elementBytes, byte* destination)
    {
        for (int column = 0; column < columns; column++)
        {
            if (elementBytes == sizeof(ushort))
            {
                ((ushort*)destination)[column] = ((ushort*)packed)[((long)column * GroupRows) + row];
            }
            else
            {
                ((uint*)destination)[column] = ((uint*)packed)[((long)column * GroupRows) + row];
            }
        }
    }

    /// <summary><c>packed[column * 16 + row] = rows[row][column]</c>, absent rows zero.</summary>
    internal static void Pack<T>(byte* rows, long rowBytes, int rowCount, int columns, T* packed)
        where T : unmanaged
    {
        // Tiles of 64 columns keep the 16 sources and the destination in the first-level cache.
        for (int start = 0; start < columns; start += 64)
        {
            int end = Math.Min(start + 64, columns);
            for (int row = 0; row < GroupRows; row++)
            {
                T* source = (T*)(rows + (row * rowBytes)), target = packed + ((long)start * GroupRows) + row;
                for (int column = start; row < rowCount && column < end; column++, target += GroupRows)
                {
                    *target = source[column];
                }

                for (int column = start; row >= rowCount && column < end; column++, target += GroupRows)
                {
                    *target = default;
                }
            }
        }
    }
}
