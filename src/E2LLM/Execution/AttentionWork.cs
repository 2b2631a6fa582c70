using E2LLM.Kernels.Attention;
using E2LLM.Kernels.Elementwise;
using E2LLM.KvCaching;
using E2LLM.Weights;

namespace E2LLM.Execution;

/// <summary>
/// Causal attention of a piece: <c>out[t] = softmax(q[t] K) V</c> over the positions up to t's own, keys and values read back from the cache as stored.
/// </summary>
/// <remarks>
/// A tile is a few tokens of one sequence and the query heads that share one key/value head. The context is cut into segments at fixed absolute
/// positions; each is folded block by block from nothing, and the segments are merged in order: always, so that it changes no bit whether one worker does all
/// segments of a tile or several share them.
/// </remarks>
internal sealed unsafe class AttentionWork : IWork, IDisposable
{
    // Rows of a tile: a decoded block is used by all of them, and they stay in the first-level cache with it.
    private const int TileRows = 32;
    private const int SegmentBlocks = 4;
    private const int SegmentTokens = SegmentBlocks * KvCacheLayout.DefaultBlockTokenCount;

    // With fewer tiles than this per worker, workers share a tile's segments.
    private const int TilesPerWorker = 4;

    private readonly WorkerPool _pool;
    private readonly ModelShape _shape;
    private readonly AttentionScratch[] _scratch;
    private readonly int _tileTokens, _rowFloats;
    private AlignedBuffer _parts = new(0);
    private BatchPiece? _piece;
    private ActivationBuffer? _output;
    private float* _queries;
    private int _layer, _segments;
    private Phase _phase;

    internal AttentionWork(WorkerPool pool, ModelShape shape, KvCacheLayout layout)
    {
        (_pool, _shape) = (pool, shape);
        _tileTokens = Math.Max(1, TileRows / shape.HeadsPerKvHead);
        _rowFloats = layout.StoredHeadDim + 2;
        _scratch = new AttentionScratch[pool.WorkerCount];
        for (int i = 0; i < _scratch.Length; i++)
        {
            _scratch[i] = new AttentionScratch(shape.HeadDim, layout.StoredHeadDim, _tileTokens * shape.HeadsPerKvHead);
        }
    }

    private enum Phase
    {
        /// <summary>A task is a tile with all its segments.</summary>
        WholeTiles,

        /// <summary>A task is one segment of one tile; the result goes to <c>_parts</c>.</summary>
        Segments,

        /// <summary>A task merges the segments of one tile.</summary>
        Merge,
    }

    private int TileRowCount => _tileTokens * _shape.HeadsPerKvHead;

    /// <summary>Attends for all tokens of a piece; their own keys and values are stored already.</summary>
    /// <param name="piece">Which token is which position of which sequence.</param>
    /// <param name="layer">Absolute layer.</param>
    /// <param name="queries"><c>[tokens][QueryWidth]</c>, rotated and scaled.</param>
    /// <param name="output"><c>[tokens][QueryWidth]</c>.</param>
    internal void Run(BatchPiece piece, int layer, float* queries, ActivationBuffer output)
    {
        _piece = piece;
        _layer = layer;
        _queries = queries;
        _output = output;
        int tiles = 0, longest = 0;
        foreach (BatchPiece.Slice slice in piece.Slices)
        {
            tiles += TilesOf(slice);
            longest = Math.Max(longest, slice.Position + slice.TokenCount);
        }

        _segments = (longest + SegmentTokens - 1) / SegmentTokens;
        if (_pool.WorkerCount == 1 || _segments == 1 || tiles >= TilesPerWorker * _pool.WorkerCount)
        {
            _phase = Phase.WholeTiles;
            _pool.Run(this, tiles);
            return;
        }

        ReserveParts((long)tiles * _segments);
        _phase = Phase.Segments;
        _pool.Run(this, tiles * _segments);
        _phase = Phase.Merge;
        _pool.Run(this, tiles);
    }

    void IWork.Run(int task, int worker)
    {
        AttentionScratch scratch = _scratch[worker];
        switch (_phase)
        {
            case Phase.WholeTiles:
                MergeTile(FindTile(task), task, scratch, computed: false);
                break;
            case Phase.Segments:
                int tile = task / _segments;
                AttentionRows rows = FoldSegment(FindTile(tile), task % _segments, scratch);
                Save(rows, PartOf(tile, task % _segments));
                break;
            default:
                MergeTile(FindTile(task), task, scratch, computed: true);
                break;
        }
    }

    public void Dispose()
    {
        _parts.Dispose();
        foreach (AttentionScratch scratch in _scratch)
        {
            scratch.Dispose();
        }
    }

    private int TilesOf(in BatchPiece.Slice slice) => (slice.TokenCount + _tileTokens - 1) / _tileTokens * _shape.KvHeadCount;

    private Tile FindTile(int tile)
    {
        foreach (BatchPiece.Slice slice in _piece!.Slices)
        {
            int count = TilesOf(slice);
            if (tile < count)
            {
                int firstToken = tile / _shape.KvHeadCount * _tileTokens;
                return new Tile(slice, tile % _shape.KvHeadCount, firstToken, Math.Min(_tileTokens, slice.TokenCount - firstToken));
            }

            tile -= count;
        }

        throw new InvalidOperationException("A tile beyond the piece was asked for.");
    }

    /// <summary>Folds one segment's blocks into fresh rows.</summary>
    private AttentionRows FoldSegment(in Tile tile, int segment, AttentionScratch scratch)
    {
        AttentionRows rows = scratch.Segment(tile.Tokens, _shape.HeadsPerKvHead);
        rows.Clear();
        GatherQueries(tile, rows.Queries);
        KvCacheLayout layout = tile.Slice.Cache.Layout;
        int firstPosition = tile.Slice.Position + tile.FirstToken, last = firstPosition + tile.Tokens - 1;
        for (int block = segment * SegmentBlocks; block < (segment + 1) * SegmentBlocks && block * layout.BlockTokenCount <= last; block++)
        {
            // Tokens before the block see none of it.
            int seenByFirst = firstPosition + 1 - (block * layout.BlockTokenCount), skipped = Math.Max(0, 1 - seenByFirst);
            AttentionRows seeing = rows.From(skipped);
            byte* next = AfterBlock(tile, block, last);
            if (seeing.Tokens == 1)
            {
                FoldStored(tile, block, next, seeing, seenByFirst + skipped, scratch);
            }
            else
            {
                (nint keys, nint values) = DecodeBlock(tile.Slice.Cache, block, next, tile.KvHead, scratch);
                AttentionBlock.Fold(seeing, (float*)keys, (float*)values, seenByFirst + skipped);
            }
        }

        return rows;
    }

    /// <summary>The keys that are read after a block: the next block's, or those of the next head.</summary>
    private byte* AfterBlock(in Tile tile, int block, int lastPosition)
    {
        KvCacheLayout layout = tile.Slice.Cache.Layout;
        return (block + 1) * layout.BlockTokenCount <= lastPosition
            ? tile.Slice.Cache.LayerPointer(_layer, block + 1) + layout.KeysOffset(tile.KvHead)
            : tile.Slice.Cache.LayerPointer(_layer, 0) + layout.KeysOffset(Math.Min(tile.KvHead + 1, layout.KvHeadCount - 1));
    }

    private void FoldStored(in Tile tile, int block, byte* next, in AttentionRows rows, int count, AttentionScratch scratch)
    {
        KvCacheLayout layout = tile.Slice.Cache.Layout;
        byte* data = tile.Slice.Cache.LayerPointer(_layer, block);
        int head = tile.KvHead;
        var stored = new StoredBlock(
            layout.ElementType, data + layout.KeysOffset(head), (ushort*)(data + layout.KeyScalesOffset(head)), data + layout.ValuesOffset(head), (ushort*)(data + layout.ValueScalesOffset(head)), next);

        // Nothing is decoded, so there is room for scales where keys would be.
        StoredAttentionBlock.Fold(rows, stored, scratch.Keys, count);
    }

    private (nint Keys, nint Values) DecodeBlock(KvCache cache, int block, byte* next, int head, AttentionScratch scratch)
    {
        KvCacheLayout layout = cache.Layout;
        byte* data = cache.LayerPointer(_layer, block), keys = data + layout.KeysOffset(head), values = data + layout.ValuesOffset(head);
        if (layout.ElementType == KvElementType.F32)
        {
            return ((nint)keys, (nint)values);
        }

        DecodeKv.Keys(layout.ElementType, keys, (ushort*)(data + layout.KeyScalesOffset(head)), layout.HeadDim, scratch.Keys, values);
        DecodeKv.Values(layout.ElementType, values, (ushort*)(data + layout.ValueScalesOffset(head)), layout.HeadDim, layout.StoredHeadDim, scratch.Values, next);
        return ((nint)scratch.Keys, (nint)scratch.Values);
    }

    private void GatherQueries(in Tile tile, float* queries)
    {
        int width = _shape.HeadsPerKvHead * _shape.HeadDim;
        for (int token = 0; token < tile.Tokens; token++)
        {
            nint row = tile.Slice.FirstToken + tile.FirstToken + token;
            new ReadOnlySpan<float>(_queries + (row * _shape.QueryWidth) + (tile.KvHead * width), width).CopyTo(new Span<float>(queries + ((nint)token * width), width));
        }
    }

    /// <summary>Merges all segments of a tile in order and writes the result.</summary>
    private void MergeTile(in Tile tile, int index, AttentionScratch scratch, bool computed)
    {
        AttentionRows merged = scratch.Merged(tile.Tokens, _shape.HeadsPerKvHead);
        merged.Clear();
        int last = tile.Slice.Position + tile.FirstToken + tile.Tokens - 1;
        for (int segment = 0; segment * SegmentTokens <= last; segment++)
        {
            AttentionRows part = computed ? default : FoldSegment(tile, segment, scratch);
            float* saved = computed ? PartOf(index, segment) : null;
            for (int row = 0; row < merged.Count; row++)
            {
                float* stored = saved + ((nint)row * _rowFloats);
                float maximum = computed ? stored[0] : part.Maxima[row], sum = computed ? stored[1] : part.Sums[row];
                float* output = computed ? stored + 2 : part.Outputs + ((nint)row * part.ValueStride);
                MergeAttention.Run(
                    merged.Maxima + row, merged.Sums + row, merged.Outputs + ((nint)row * merged.ValueStride), maximum, sum, output, merged.ValueStride);
            }
        }

        Write(tile, merged);
    }

    private void Write(in Tile tile, in AttentionRows rows)
    {
        for (int row = 0; row < rows.Count; row++)
        {
            int token = tile.Slice.FirstToken + tile.FirstToken + (row / rows.Heads), head = (tile.KvHead * rows.Heads) + (row % rows.Heads);
            float* source = rows.Outputs + ((nint)row * rows.ValueStride), target = _output!.Row(token) + ((nint)head * _shape.HeadDim);
            float scale = 1f / rows.Sums[row];
            Scale.Run(source, _shape.HeadDim, scale, target);
        }
    }

    private void Save(in AttentionRows rows, float* part)
    {
        for (int row = 0; row < rows.Count; row++, part += _rowFloats)
        {
            part[0] = rows.Maxima[row];
            part[1] = rows.Sums[row];
            new ReadOnlySpan<float>(rows.Outputs + ((nint)row * rows.ValueStride), rows.ValueStride).CopyTo(new Span<float>(part + 2, rows.ValueStride));
        }
    }

    private float* PartOf(int tile, int segment) => _parts.Floats + ((((nint)tile * _segments) + segment) * TileRowCount * _rowFloats);

    private void ReserveParts(long count)
    {
        long bytes = count * TileRowCount * _rowFloats * sizeof(float);
        if (bytes > _parts.Bytes)
        {
            _parts.Dispose();
            _parts = new AlignedBuffer(Math.Max(bytes, 2 * _parts.Bytes));
        }
    }

    private readonly record struct Tile(BatchPiece.Slice Slice, int KvHead, int FirstToken, int Tokens);
}
