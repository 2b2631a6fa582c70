using E2LLM.KvCaching;

namespace E2LLM.Transfer;

/// <summary>What the raw bytes of one slice are: <c>[TokenCount][KvHeadCount][HeadDim]</c> elements of one layer, keys or values.</summary>
/// <param name="ElementType">How an element is stored.</param>
/// <param name="Part">Keys or values: codecs may treat them differently.</param>
/// <param name="FirstToken">Position of the first token in its sequence.</param>
/// <param name="TokenCount">Tokens.</param>
/// <param name="KvHeadCount">Key/value heads per token.</param>
/// <param name="HeadDim">Elements per head.</param>
public readonly record struct KvBlockShape(KvElementType ElementType, KvPart Part, int FirstToken, int TokenCount, int KvHeadCount, int HeadDim)
{
    /// <summary>Bytes of one token.</summary>
    /// <exception cref="OverflowException">The product is larger than an <see cref="int"/> can say.</exception>
    public int TokenBytes => new KvCacheLayout(default, KvHeadCount, HeadDim, ElementType).TokenBytes;

    /// <summary>Bytes of the whole slice, uncoded.</summary>
    public long RawBytes => (long)TokenCount * TokenBytes;
}
