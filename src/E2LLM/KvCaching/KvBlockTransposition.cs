namespace E2LLM.KvCaching;

/// <summary>Copies between the blocks' inner layout and the canonical order <c>[position][kvHead][headDim]</c>. Stateless.</summary>
internal static unsafe class KvBlockTransposition
{
    /// <summary>Which half of a layer is copied, and which way.</summary>
    internal readonly record struct Direction(bool IsKeys, bool ToCache);

    /// <summary>Copies <paramref name="count"/> positions; the caller has checked every bound.</summary>
    internal static void Copy(KvCache cache, int layer, int firstToken, int count, byte* canonical, Direction direction)
    {
        KvCacheLayout layout = cache.Layout;
        int blockTokens = layout.BlockTokenCount;
        bool hasTiles = direction.IsKeys && layout.ElementBytes == sizeof(ushort) && layout.HeadDim % KeyTiles.Size == 0 && KeyTiles.IsSupported;
        for (int done = 0; done < count; done++)
        {
            int position = firstToken + done;
            if (hasTiles && count - done >= KeyTiles.Size && blockTokens - (position % blockTokens) >= KeyTiles.Size)
            {
                CopyKeyTiles(layout, cache.LayerPointer(layer, position / blockTokens), position % blockTokens, (ushort*)(canonical + ((long)done * layout.TokenBytes)), direction.ToCache);
                done += KeyTiles.Size - 1;
                continue;
            }

            CopyPosition(layout, cache.LayerPointer(layer, position / blockTokens), position % blockTokens, canonical + ((long)done * layout.TokenBytes), direction);
        }
    }

    /// <summary>Copies the keys of 8 positions of one block, all heads, in tiles.</summary>
    private static void CopyKeyTiles(KvCacheLayout layout, byte* data, int slot, ushort* canonical, bool toCache)
    {
        nint channels = (nint)layout.KvHeadCount * layout.HeadDim;
        for (int head = 0; head < layout.KvHeadCount; head++)
        {
            ushort* tile = (ushort*)(data + layout.KeysOffset(head)) + slot;
            for (int element = 0; element < layout.HeadDim; element += KeyTiles.Size, tile += (nint)KeyTiles.Size * layout.BlockTokenCount, canonical += KeyTiles.Size)
            {
                if (toCache)
                {
                    KeyTiles.Transpose(canonical, channels, tile, layout.BlockTokenCount);
                }
                else
                {
                    KeyTiles.Transpose(tile, layout.BlockTokenCount, canonical, channels);
                }
            }
        }
    }

    private static void CopyPosition(KvCacheLayout layout, byte* data, int slot, byte* canonical, Direction direction)
    {
        // Keys: neighbouring elements of one position lie a whole block of positions apart. Values: side by side.
        int elementStride = direction.IsKeys ? layout.BlockTokenCount : 1;
        int slotStride = direction.IsKeys ? 1 : layout.StoredHeadDim;
        int size = layout.ElementBytes;
        for (int head = 0; head < layout.KvHeadCount; head++)
        {
            byte* stored = data + (direction.IsKeys ? layout.KeysOffset(head) : layout.ValuesOffset(head)) + ((long)slot * slotStride * size);
            if (layout.ElementType == KvElementType.Q8_0)
            {
                CopyQuantizedHead(
                    layout, stored, elementStride, data + (direction.IsKeys ? layout.KeyScalesOffset(head) : layout.ValueScalesOffset(head)), slot, canonical, direction);
                canonical += layout.HeadScaleCount * (sizeof(ushort) + KvCacheLayout.QuantizedBlockElementCount);
            }
            else
            {
                CopyElements(stored, elementStride, canonical, layout.HeadDim, size, direction.ToCache);
                canonical += layout.HeadDim * size;
            }
        }
    }

    private static void CopyQuantizedHead(
        KvCacheLayout layout, byte* stored, int elementStride, byte* scales, int slot, byte* canonical, Direction direction)
    {
        int blocks = layout.HeadScaleCount;
        for (int block = 0; block < blocks; block++)
        {
            int scaleIndex = direction.IsKeys ? (block * layout.BlockTokenCount) + slot : (slot * blocks) + block;
            CopyElements(scales + (scaleIndex * sizeof(ushort)), 1, canonical, 1, sizeof(ushort), direction.ToCache);
            canonical += sizeof(ushort);
            int first = block * KvCacheLayout.QuantizedBlockElementCount;
            CopyElements(stored + ((long)first * elementStride), elementStride, canonical, KvCacheLayout.QuantizedBlockElementCount, 1, direction.ToCache);
            canonical += KvCacheLayout.QuantizedBlockElementCount;
        }
    }

    /// <summary>Copies elements between a strided and a dense run; the strided one is written where <paramref name="toStrided"/>.</summary>
    private static void CopyElements(byte* strided, int stride, byte* dense, int count, int size, bool toStrided)
    {
        if (stride == 1)
        {
            long bytes = (long)count * size;
            Buffer.MemoryCopy(toStrided ? dense : strided, toStrided ? strided : dense, bytes, bytes);
            return;
        }

        switch (size)
        {
            case 1:
                CopyStrided(strided, stride, dense, count, toStrided);
                break;
            case 2:
                CopyStrided((ushort*)strided, stride, (ushort*)dense, count, toStrided);
                break;
            default:
                CopyStrided((uint*)strided, stride, (uint*)dense, count, toStrided);
                break;
        }
    }

    private static void CopyStrided<T>(T* strided, int stride, T* dense, int count, bool toStrided)
        where T : unmanaged
    {
        for (int i = 0; i < count; i++)
        {
            if (toStrided)
            {
                strided[i * (long)stride] = dense[i];
            }
            else
            {
                dense[i] = strided[i * (long)stride];
            }
        }
    }
}
