using System.Buffers;
using E2LLM.KvCaching;

namespace E2LLM.Transfer;

/// <summary>
/// Writes one KV message: a header, slices in any order and size, an end. A slice can leave as soon as its layer is computed. The caller owns
/// the output and sends or stores the bytes. Not thread-safe. Format: WIRE_FORMAT.md.
/// </summary>
public sealed class KvTransferWriter : IDisposable
{
    private readonly FrameWriter _frames;
    private readonly HeaderWriter _header = new();
    private readonly KvSliceEncoder _encoder;
    private readonly KvTransferHeader _message;
    private uint _sliceCount;
    private ulong _rawBytes;
    private bool _completed;

    /// <summary>Starts a message: its header is written at once.</summary>
    /// <param name="output">Takes the bytes.</param>
    /// <param name="message">What the message will hold.</param>
    /// <param name="codec">Codes the slices (int4: all but the first 4 and the last 64 positions); null sends them raw.</param>
    /// <param name="nonce">Stamped on every frame, so that a replayed message of another connection is recognised.</param>
    public KvTransferWriter(IBufferWriter<byte> output, KvTransferHeader message, IKvBlockCodec? codec = null, ulong nonce = 0)
    {
        ArgumentNullException.ThrowIfNull(output);
        ArgumentNullException.ThrowIfNull(message);
        _message = message;
        _frames = new FrameWriter(output) { Nonce = nonce };
        _encoder = new KvSliceEncoder(new KvCodecChooser(KvCodecPolicy.Always(codec ?? RawKvCodec.Instance), _ => true), TimeProvider.System);
        KvMessages.Write(_header, message);
        _frames.Write(FrameKind.KvBegin, _header.Written, default);
    }

    /// <summary>Writes all keys and values of a sequence as one message: what <see cref="KvTransferReader.Import"/> takes on the other side.</summary>
    /// <param name="output">Takes the bytes.</param>
    /// <param name="cache">The sequence; all its positions are sent.</param>
    /// <param name="model">The model that computed them.</param>
    /// <param name="tokens">The sequence's token ids, one for each position.</param>
    /// <param name="codec">Codes the slices; null sends them raw.</param>
    /// <param name="transferId">Tells messages of one connection apart.</param>
    /// <exception cref="ArgumentException">The cache is empty, or holds another number of positions than there are tokens.</exception>
    public static void Write(
        IBufferWriter<byte> output, KvCache cache, ModelIdentity model, ReadOnlySpan<int> tokens, IKvBlockCodec? codec = null, ulong transferId = 0)
    {
        ArgumentNullException.ThrowIfNull(cache);
        if (cache.Length != tokens.Length)
        {
            throw new ArgumentException($"The cache holds {cache.Length} positions; there are {tokens.Length} tokens.", nameof(tokens));
        }

        using var writer = new KvTransferWriter(output, KvTransferHeader.For(transferId, model, tokens, cache.Layout), codec);
        writer.WriteAll(cache);
    }

    /// <summary>Writes keys and values of some positions of one layer, as frames of about 1 MiB at most.</summary>
    /// <param name="cache">Sequence to read.</param>
    /// <param name="layer">Layer, within the message's and the cache's range.</param>
    /// <param name="firstToken">First position.</param>
    /// <param name="tokenCount">Positions, at least one, within the message's range.</param>
    /// <exception cref="ArgumentException">The range lies outside the message, or the cache's geometry is another.</exception>
    /// <exception cref="InvalidOperationException">The message was completed.</exception>
    public void WriteLayer(KvCache cache, int layer, int firstToken, int tokenCount)
    {
        ArgumentNullException.ThrowIfNull(cache);
        CheckOpen();
        CheckRange(cache, layer, firstToken, tokenCount);
        int end = firstToken + tokenCount;
        for (int at = firstToken, next; at < end; at = next)
        {
            next = _encoder.CutAt(cache.Layout.TokenBytes, at, end, _message.FirstPosition + _message.PositionCount);
            WriteSlice(cache, layer, KvPart.Keys, at, next - at);
            WriteSlice(cache, layer, KvPart.Values, at, next - at);
        }
    }

    /// <summary>Writes all layers and positions of the message, and its end: nothing is to be called after it.</summary>
    /// <param name="cache">Sequence that holds all of them.</param>
    /// <exception cref="ArgumentException">The cache lacks some.</exception>
    public void WriteAll(KvCache cache)
    {
        for (int layer = _message.Layers.Start; layer < _message.Layers.End; layer++)
        {
            WriteLayer(cache, layer, _message.FirstPosition, _message.PositionCount);
        }

        Complete();
    }

    /// <summary>Writes the end of the message.</summary>
    /// <exception cref="InvalidOperationException">The message was completed before.</exception>
    public void Complete()
    {
        CheckOpen();
        _completed = true;
        _header.Clear();
        KvMessages.Write(_header, new KvEndHeader(_message.TransferId, _sliceCount, _rawBytes));
        _frames.Write(FrameKind.KvEnd, _header.Written, default);
    }

    /// <summary>Gives back the coding buffers.</summary>
    public void Dispose() => _encoder.Dispose();

    private void WriteSlice(KvCache cache, int layer, KvPart part, int firstToken, int tokenCount)
    {
        KvSliceHeader slice = _encoder.Encode(_message.TransferId, cache, layer, part, firstToken, tokenCount, _message.FirstPosition + _message.PositionCount, out ReadOnlyMemory<byte> payload);
        _header.Clear();
        KvMessages.Write(_header, slice);
        _frames.Write(FrameKind.KvSlice, _header.Written, payload.Span);
        _sliceCount++;
        _rawBytes += slice.RawBytes;
    }

    private void CheckOpen()
    {
        if (_completed)
        {
            throw new InvalidOperationException("The KV message was completed; start a new writer for the next one.");
        }
    }

    private void CheckRange(KvCache cache, int layer, int firstToken, int tokenCount)
    {
        KvCacheLayout layout = cache.Layout;
        if (layout.KvHeadCount != _message.KvHeadCount || layout.HeadDim != _message.HeadDim || layout.ElementType != _message.ElementType)
        {
            throw new ArgumentException(
                $"The message announces {_message.KvHeadCount} heads of {_message.HeadDim} {_message.ElementType}; the cache has {layout.KvHeadCount} of {layout.HeadDim} {layout.ElementType}.", nameof(cache));
        }

        if (!_message.Layers.Contains(layer) || !layout.Layers.Contains(layer))
        {
            throw new ArgumentOutOfRangeException(nameof(layer), layer, $"The message holds layers {_message.Layers}, the cache {layout.Layers}.");
        }

        ArgumentOutOfRangeException.ThrowIfLessThan(tokenCount, 1);
        long end = (long)firstToken + tokenCount;
        if (firstToken < _message.FirstPosition || end > (long)_message.FirstPosition + _message.PositionCount || end > cache.Length)
        {
            throw new ArgumentOutOfRangeException(nameof(firstToken), firstToken,
                $"Positions [{firstToken}, {end}) must lie in the message's {_message.PositionCount} from {_message.FirstPosition} and in the cache's {cache.Length}.");
        }
    }
}
