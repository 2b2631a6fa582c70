using System.Runtime.InteropServices;
using E2LLM.KvCaching;

namespace E2LLM.Tests.KvCaching;

/// <summary>Pages that outlive their sequence, and pages that sequences share.</summary>
public sealed class KeptPagesTests
{
    private const int Page = PageKey.TokenCount;
    private static readonly KvCacheLayout Layout = new(new LayerRange(2, 4), 1, 16, KvElementType.F32);

    /// <summary>Golden: made by another implementation of SHA-256, over 32 zero bytes and the numbers 0 to 63; then over that and 64 to 127.</summary>
    [Fact]
    public void Extend_CountingTokens_GivesGoldenKeys()
    {
        List<PageKey> keys = [];
        PageKey.Extend(keys, [.. Enumerable.Range(0, (2 * Page) + 63)]);
        Assert.Equal(
            ["9f8658a9b607526858ae9067d596800d27726fa7ddecbe3ece7d9e017c96aa54", "bc8416bfc97846ced6e50217c4f6bcf98a893313a97b2ace1ed9906b92d70d03"],
            keys.Select(key =>
            {
                byte[] bytes = new byte[PageKey.ByteCount];
                key.Write(bytes);
                Assert.Equal(key, PageKey.Read(bytes));
                return Convert.ToHexStringLower(bytes);
            }));
    }

    [Fact]
    public void AdoptPrefix_SameBeginning_SharesBlocksAndCopiesBeforeWriting()
    {
        using var pool = new KvCachePool(Layout, 7);
        int[] tokens = [.. Enumerable.Range(0, 200)];
        using KvCache first = pool.CreateSequence();
        Append(first, tokens, 200);
        first.KeepPrefix(7, Keys(tokens));
        Assert.Equal((4, 3), (pool.BlocksFor(200), pool.FreeBlockCount));
        using KvCache second = pool.CreateSequence();
        Assert.Equal(3 * Page, second.AdoptPrefix(7, Keys(tokens)));
        Assert.Equal(3, pool.FreeBlockCount);
        AssertHolds(second, tokens[..(3 * Page)]);

        // Another owner's pages are not for us.
        using KvCache foreign = pool.CreateSequence();
        Assert.Equal(0, foreign.AdoptPrefix(8, Keys(tokens)));

        // The second goes another way from position 100 on: the first must not notice.
        second.Truncate(100);
        int[] other = [.. tokens.Take(100), .. Enumerable.Range(1000, 50)];
        Append(second, other, 150);
        AssertHolds(first, tokens);
        AssertHolds(second, other);
        second.WriteKeys(2, 3, 1, new byte[Layout.TokenBytes]);
        AssertHolds(first, tokens);
    }

    [Fact]
    public void Rent_NothingElseFree_GivesUpWhatWasUnusedForLongestEndsFirst()
    {
        using var pool = new KvCachePool(Layout, 4);
        int[] a = [.. Enumerable.Range(0, 2 * Page)], b = [.. Enumerable.Range(500, 2 * Page)];
        Leave(pool, a);
        Leave(pool, b);
        Assert.Equal((4, 4), (pool.FreeBlockCount, pool.KeptBlockCount));
        using (KvCache again = pool.CreateSequence())
        {
            Assert.Equal(2 * Page, again.AdoptPrefix(0, Keys(a)));
        }

        using KvCache taker = pool.CreateSequence();
        taker.Reserve(3 * Page);
        Assert.Equal((1, 1), (pool.FreeBlockCount, pool.KeptBlockCount));
        using KvCache late = pool.CreateSequence();
        Assert.Equal(0, late.AdoptPrefix(0, Keys(b)));
        Assert.Equal(Page, late.AdoptPrefix(0, Keys(a)));
    }

    [Fact]
    public void Keep_AboveTheBound_KeepsTheNewest()
    {
        using var pool = new KvCachePool(Layout, 8) { MaxKeptBlockCount = 2 };
        int[] a = [.. Enumerable.Range(0, Page)], b = [.. Enumerable.Range(500, 2 * Page)];
        Leave(pool, a);
        Leave(pool, b);
        Assert.Equal((8, 2), (pool.FreeBlockCount, pool.KeptBlockCount));
        using KvCache sequence = pool.CreateSequence();
        Assert.Equal(0, sequence.AdoptPrefix(0, Keys(a)));
        Assert.Equal(2 * Page, sequence.AdoptPrefix(0, Keys(b)));
        sequence.Dispose();
        pool.MaxKeptBlockCount = 0;
        Leave(pool, [.. Enumerable.Range(900, Page)]);
        Assert.Equal(8, pool.FreeBlockCount);
    }

    [Fact]
    public void Forget_OneOwner_LeavesTheOthers()
    {
        using var pool = new KvCachePool(Layout, 4);
        int[] tokens = [.. Enumerable.Range(0, Page)];
        Leave(pool, tokens, scope: 1);
        Leave(pool, tokens, scope: 2);
        pool.Forget(1);
        using KvCache sequence = pool.CreateSequence();
        Assert.Equal(0, sequence.AdoptPrefix(1, Keys(tokens)));
        Assert.Equal(Page, sequence.AdoptPrefix(2, Keys(tokens)));
        pool.Forget(2);
        AssertHolds(sequence, tokens);
        sequence.Dispose();
        Assert.Equal((4, 0), (pool.FreeBlockCount, pool.KeptBlockCount));
    }

    /// <summary>Judge: what each sequence should hold is a list of tokens, and blocks in use are counted by hand.</summary>
    [Fact]
    public void AnyOrderOfEvents_SequencesHoldTheirOwnTokensAndNoBlockIsLost()
    {
        for (int seed = 0; seed < 60; seed++)
        {
            var random = new Random(seed);
            using var pool = new KvCachePool(Layout, 12) { MaxKeptBlockCount = random.Next(0, 13) };
            var live = new List<(KvCache Cache, List<int> Tokens)>();
            for (int step = 0; step < 150; step++)
            {
                int choice = random.Next(6);
                if (choice == 0 || live.Count == 0)
                {
                    // Few different beginnings, so that many are shared.
                    List<int> tokens = [.. Enumerable.Range(0, random.Next(0, 4) * Page).Select(i => i / Page == 2 ? random.Next(2) : i)];
                    KvCache cache = pool.CreateSequence();
                    int found = cache.AdoptPrefix(0, Keys(tokens));
                    live.Add((cache, tokens[..found]));
                }
                else
                {
                    int index = random.Next(live.Count);
                    (KvCache cache, List<int> tokens) = live[index];
                    try
                    {
                        Change(cache, tokens, choice, random);
                    }
                    catch (KvCacheFullException)
                    {
                        Assert.Equal(tokens.Count, cache.Length);
                    }

                    if (choice == 5)
                    {
                        cache.Dispose();
                        live.RemoveAt(index);
                    }
                }

                live.ForEach(one => AssertHolds(one.Cache, [.. one.Tokens]));
                Assert.InRange(pool.KeptBlockCount, 0, Math.Min(pool.MaxKeptBlockCount, pool.FreeBlockCount));
                Assert.InRange(pool.FreeBlockCount, 12 - live.Sum(one => one.Cache.Capacity / Page), 12);
            }

            live.ForEach(one => one.Cache.Dispose());
            Assert.Equal(12, pool.FreeBlockCount);
        }
    }

    private static void Change(KvCache cache, List<int> tokens, int choice, Random random)
    {
        if (choice <= 2)
        {
            int to = tokens.Count + random.Next(1, 100);
            cache.Reserve(to);
            tokens.AddRange(Enumerable.Range(tokens.Count, to - tokens.Count).Select(i => i / Page == 2 ? random.Next(2) : i));
            Append(cache, [.. tokens], to);
        }
        else if (choice == 3)
        {
            cache.KeepPrefix(0, Keys(tokens));
        }
        else if (choice == 4)
        {
            int length = random.Next(tokens.Count + 1);
            cache.Truncate(length);
            tokens.RemoveRange(length, tokens.Count - length);
        }
    }

    private static void Leave(KvCachePool pool, int[] tokens, ulong scope = 0)
    {
        using KvCache cache = pool.CreateSequence();
        Append(cache, tokens, tokens.Length);
        cache.KeepPrefix(scope, Keys(tokens));
    }

    private static PageKey[] Keys(IReadOnlyList<int> tokens)
    {
        List<PageKey> keys = [];
        PageKey.Extend(keys, tokens);
        return [.. keys];
    }

    /// <summary>Appends positions whose keys and values say which token, position and layer they are.</summary>
    private static void Append(KvCache cache, int[] tokens, int end)
    {
        cache.Reserve(end);
        for (int position = cache.Length; position < end; position++)
        {
            for (int layer = 2; layer < 4; layer++)
            {
                cache.WriteKeys(layer, position, 1, Mark(tokens[position], position, layer));
                cache.WriteValues(layer, position, 1, Mark(tokens[position], position, -layer));
            }
        }

        cache.Extend(end);
    }

    private static void AssertHolds(KvCache cache, int[] tokens)
    {
        Assert.Equal(tokens.Length, cache.Length);
        byte[] keys = new byte[Layout.TokenBytes * tokens.Length], values = new byte[keys.Length];
        for (int layer = 2; layer < 4; layer++)
        {
            cache.ReadKeys(layer, 0, tokens.Length, keys);
            cache.ReadValues(layer, 0, tokens.Length, values);
            for (int position = 0; position < tokens.Length; position++)
            {
                Assert.True(keys.AsSpan(position * Layout.TokenBytes, Layout.TokenBytes).SequenceEqual(Mark(tokens[position], position, layer)));
                Assert.True(values.AsSpan(position * Layout.TokenBytes, Layout.TokenBytes).SequenceEqual(Mark(tokens[position], position, -layer)));
            }
        }
    }

    private static byte[] Mark(int token, int position, int layer)
    {
        float[] mark = new float[16];
        (mark[0], mark[7], mark[15]) = (token, position, layer);
        return MemoryMarshal.AsBytes(mark.AsSpan()).ToArray();
    }
}
