using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using E2LLM.KvCaching;
using E2LLM.Tests.Transfer;
using E2LLM.Transfer;

namespace E2LLM.Fuzz.Targets;

/// <summary>
/// Mutated KV messages of every codec and element type, mostly with checksums made right again, so that what lies behind them is reached. Whatever the bytes, only KvTransferException comes out,
/// and then the target sequence is as it was; a message that is taken fills all positions with finite numbers.
/// </summary>
internal sealed class KvMessageTarget : IFuzzTarget, IDisposable
{
    private const int Tokens = 70, Heads = 2, HeadDim = 32;

    private static readonly KvElementType[] Types = Enum.GetValues<KvElementType>();

    private static readonly ModelIdentity Model = new(
        new ModelShape
        {
            Name = "fuzz", Architecture = "llama", LayerCount = 2, HiddenSize = 64, HeadCount = 2, KvHeadCount = Heads, HeadDim = HeadDim, FeedForwardSize = 1,
            VocabularySize = 100, ContextLength = 512, RopeDimensionCount = HeadDim, RmsNormEpsilon = 1e-5f,
        }, new byte[32], new byte[32]);

    private readonly int[] _tokens = [.. Enumerable.Range(0, Tokens)];
    private readonly List<(KvElementType Type, List<byte[]> Frames)> _seeds = [];
    private readonly KvCachePool[] _pools = [.. Types.Select(type => new KvCachePool(new KvCacheLayout(new LayerRange(0, 2), Heads, HeadDim, type), 8))];

    public KvMessageTarget()
    {
        foreach (KvElementType type in Types)
        {
            foreach (IKvBlockCodec codec in KvCodecSet.Default.Codecs)
            {
                _seeds.Add((type, FrameBytes.Frames(Message(type, codec))));
            }
        }
    }

    public string Name => "kv";

    /// <summary>First byte: the element type of the target.</summary>
    public byte[] CreateInput(Random random)
    {
        (KvElementType type, List<byte[]> frames) = _seeds[random.Next(_seeds.Count)];
        List<byte[]> bent = [.. frames];
        int index = random.Next(bent.Count);
        byte[] frame = bent[index];
        int headerBytes = BinaryPrimitives.ReadInt32LittleEndian(frame.AsSpan(8));
        if (random.Next(4) == 0)
        {
            bent[index] = ByteMutator.Mutate(frame, [(4, 1), (5, 1), (6, 1), (7, 1), (8, 4), (12, 4), (16, 8), (24, 8)], random);
        }
        else
        {
            byte[] body = ByteMutator.Mutate(frame[Frame.PrefixBytes..], [(8, 4), (12, 4), (16, 4), (20, 1), (21, 1), (24, 4), (28, 4), (headerBytes, 2), (headerBytes + 2, 2)], random);
            bent[index] = FrameBytes.WithBody(frame, body, Math.Min(headerBytes, body.Length));
        }

        return [(byte)type, .. FrameBytes.Join(bent)];
    }

    public bool Check(byte[] input)
    {
        if (input.Length == 0 || input[0] >= Types.Length)
        {
            return false;
        }

        KvCachePool pool = _pools[input[0]];
        using KvCache target = pool.CreateSequence();
        try
        {
            int applied = new KvTransferReader(new ReadOnlySequence<byte>(input, 1, input.Length - 1)).Import(target, Model, _tokens);
            if (applied != Tokens || target.Length != Tokens || !IsFinite(target))
            {
                throw new FuzzFailureException($"{applied} positions were applied, {target.Length} are there, or some are no finite numbers.");
            }

            return true;
        }
        catch (KvTransferException)
        {
            return target is { Length: 0, Capacity: 0 } && pool.FreeBlockCount == pool.BlockCount
                ? false
                : throw new FuzzFailureException($"A refused message left {target.Length} positions and {target.Capacity} reserved.");
        }
    }

    public void Dispose() => Array.ForEach(_pools, pool => pool.Dispose());

    private static bool IsFinite(KvCache cache)
    {
        byte[] raw = new byte[Tokens * cache.Layout.TokenBytes];
        for (int layer = 0; layer < 2; layer++)
        {
            cache.ReadKeys(layer, 0, Tokens, raw);
            if (!KvFiniteness.AllFinite(cache.Layout.ElementType, raw))
            {
                return false;
            }
        }

        return true;
    }

    private byte[] Message(KvElementType type, IKvBlockCodec codec)
    {
        using KvCache cache = _pools[(int)type].CreateSequence();
        cache.Reserve(Tokens);
        byte[] raw = new byte[Tokens * cache.Layout.TokenBytes];
        for (int layer = 0; layer < 2; layer++)
        {
            // Smooth numbers, so that every codec has something to gain: the bits of 1 to 2 in the 16-bit types.
            Span<ushort> words = MemoryMarshal.Cast<byte, ushort>(raw.AsSpan());
            for (int i = 0; i < words.Length; i++)
            {
                words[i] = (ushort)(0x3C00 + (i * 7 % 97));
            }

            cache.WriteKeys(layer, 0, Tokens, raw);
            cache.WriteValues(layer, 0, Tokens, raw);
        }

        cache.Extend(Tokens);
        var output = new ArrayBufferWriter<byte>();
        using var writer = new KvTransferWriter(output, KvTransferHeader.For(1, Model, _tokens, cache.Layout), codec);
        writer.WriteAll(cache);
        return output.WrittenSpan.ToArray();
    }
}
