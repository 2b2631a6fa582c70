using System.Runtime.CompilerServices;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// How rows of K types lie after loading: groups of 16 rows; a group holds, for each super-block of 256 columns, the quants of its eight sub-blocks of 32 (each as
/// the layout says), then scales as signed bytes <c>[8][16 rows][1 or 2]</c>, minima as bytes <c>[8][16 rows]</c> where the format has them, and the half-precision
/// factors <c>[1 or 2][16 rows]</c>. The last group is filled up with zero rows; every group starts on a cache line.
/// </summary>
internal static unsafe class PackedSuperBlockRows
{
    /// <summary>Columns of a super-block.</summary>
    internal const int BlockColumns = 256;

    /// <summary>Sub-blocks of 32 columns in a super-block.</summary>
    internal const int SubBlocks = 8;

    private const int GroupRows = PackedQuantizedRows.GroupRows;

    /// <summary>Bytes of one super-block of 8 rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int BlockBytes<TLayout, TFormat>()
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout> =>
        FactorsOffset<TLayout, TFormat>() + (GroupRows * sizeof(ushort) * (TFormat.HasMinima ? 2 : 1));

    /// <summary>Where a super-block's scales begin.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int ScalesOffset<TLayout>()
        where TLayout : IQuantLayout => SubBlocks * TLayout.QuantBytes;

    /// <summary>Where a super-block's minima begin.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int MinimaOffset<TLayout, TFormat>()
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout> => ScalesOffset<TLayout>() + (SubBlocks * TFormat.ScalesPerSubBlock * GroupRows);

    /// <summary>Where a super-block's factors begin.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int FactorsOffset<TLayout, TFormat>()
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout> => MinimaOffset<TLayout, TFormat>() + (TFormat.HasMinima ? SubBlocks * GroupRows : 0);

    /// <summary>Bytes of one group.</summary>
    internal static long GroupBytes<TLayout, TFormat>(int columns)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout> => (((long)(columns / BlockColumns) * BlockBytes<TLayout, TFormat>()) + 63) / 64 * 64;

    /// <summary>Packs one group of stored rows; see <see cref="PackedQuantizedRows.PackGroup"/>.</summary>
    internal static void PackGroup<TLayout, TFormat>(byte* rows, long rowBytes, int rowCount, int columns, byte* packed)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
    {
        byte* values = stackalloc byte[BlockColumns], minima = stackalloc byte[SubBlocks];
        sbyte* scales = stackalloc sbyte[2 * SubBlocks];
        ushort* factors = stackalloc ushort[2];
        int blocks = columns / BlockColumns;
        for (int block = 0; block < blocks; block++, packed += BlockBytes<TLayout, TFormat>())
        {
            for (int row = 0; row < rowCount; row++)
            {
                TFormat.Decode(rows + (row * rowBytes) + (block * (rowBytes / blocks)), values, scales, minima, factors);
                for (int sub = 0; sub < SubBlocks; sub++)
                {
                    TLayout.Put(values + (sub * 32), row, packed + (sub * TLayout.QuantBytes));
                }

                Fields<TLayout, TFormat>(packed, row, scales, minima, factors, pack: true);
            }
        }
    }

    /// <summary>One stored row out of a group: the inverse of <see cref="PackGroup"/>, bit for bit.</summary>
    internal static void UnpackRow<TLayout, TFormat>(byte* packed, int row, int columns, byte* stored, long rowBytes)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
    {
        byte* values = stackalloc byte[BlockColumns], minima = stackalloc byte[SubBlocks];
        sbyte* scales = stackalloc sbyte[2 * SubBlocks];
        ushort* factors = stackalloc ushort[2];
        int blocks = columns / BlockColumns;
        for (int block = 0; block < blocks; block++, packed += BlockBytes<TLayout, TFormat>())
        {
            for (int column = 0; column < BlockColumns; column++)
            {
                values[column] = (byte)TLayout.Get(packed + (column / 32 * TLayout.QuantBytes), row, column % 32);
            }

            Fields<TLayout, TFormat>(packed, row, scales, minima, factors, pack: false);
            TFormat.Encode(values, scales, minima, factors, stored + (block * (rowBytes / blocks)));
        }
    }

    private static void Fields<TLayout, TFormat>(byte* packed, int row, sbyte* scales, byte* minima, ushort* factors, bool pack)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
    {
        for (int i = 0; i < TFormat.ScalesPerSubBlock; i++)
        {
            byte* first = packed + ScalesOffset<TLayout>() + (row * TFormat.ScalesPerSubBlock) + i;
            Column((byte*)scales + i, TFormat.ScalesPerSubBlock, first, GroupRows * TFormat.ScalesPerSubBlock, SubBlocks, pack);
        }

        if (TFormat.HasMinima)
        {
            Column(minima, 1, packed + MinimaOffset<TLayout, TFormat>() + row, GroupRows, SubBlocks, pack);
        }

        Column(factors, 1, (ushort*)(packed + FactorsOffset<TLayout, TFormat>()) + row, GroupRows, TFormat.HasMinima ? 2 : 1, pack);
    }

    private static void Column<T>(T* dense, int denseStride, T* spread, int spreadStride, int count, bool pack)
        where T : unmanaged
    {
        for (int i = 0; i < count; i++)
        {
            if (pack)
            {
                spread[i * spreadStride] = dense[i * denseStride];
            }
            else
            {
                dense[i * denseStride] = spread[i * spreadStride];
            }
        }
    }
}
