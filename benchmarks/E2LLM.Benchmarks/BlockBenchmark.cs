using System.Runtime.InteropServices;
using E2LLM.Kernels.Attention;

namespace E2LLM.Benchmarks;

/// <summary>
/// One token's attention to one block of 64 positions that lies in the second-level cache: folded as it is stored and decoded first, in turn. Nanoseconds, least of many.
/// </summary>
internal static unsafe class BlockBenchmark
{
    private static readonly (int Heads, int HeadDim)[] Shapes = [(1, 128), (2, 128), (4, 64), (4, 128), (8, 64)];

    public static void Run()
    {
        Console.WriteLine($"{"heads",-9} {"cache",-5} {"as stored",10} {"decoded",10}   ns a block (least of 200)");
        foreach ((int heads, int headDim) in Shapes)
        {
            foreach (KvElementType type in Enum.GetValues<KvElementType>())
            {
                Run(heads, headDim, type);
            }
        }
    }

    private static void Run(int heads, int headDim, KvElementType type)
    {
        const int Positions = AttentionBlock.Positions, Blocks = 8, Repeats = 200;
        int elements = headDim * Positions, half = elements * 4, scales = elements / 32 * 2;
        byte* memory = (byte*)NativeMemory.AlignedAlloc((nuint)(Blocks * 2 * (half + scales)), 64);
        new Span<byte>(memory, Blocks * 2 * (half + scales)).Fill(0x3C);
        float* scratch = (float*)NativeMemory.AlignedAlloc((nuint)(((2 * elements) + (heads * ((2 * headDim) + Positions + 2))) * sizeof(float)), 64);
        float* decodedKeys = scratch, decodedValues = scratch + elements, queries = decodedValues + elements, scores = queries + (heads * headDim), outputs = scores + (heads * Positions);
        new Span<float>(queries, heads * headDim).Fill(0.01f);
        var rows = new AttentionRows(1, heads, headDim, headDim, queries, scores, outputs + (heads * headDim), outputs + (heads * headDim) + heads, outputs);
        rows.Clear();
        (double stored, double decoded) = (double.MaxValue, double.MaxValue);
        for (int repeat = 0; repeat < Repeats; repeat++)
        {
            stored = Math.Min(stored, Clock.Seconds(1, () => All(Stored)).Least / Blocks);
            decoded = Math.Min(decoded, Clock.Seconds(1, () => All(Decoded)).Least / Blocks);
        }

        Console.WriteLine($"{heads + " x " + headDim,-9} {type,-5} {stored * 1e9,10:F0} {decoded * 1e9,10:F0}");
        NativeMemory.AlignedFree(memory);
        NativeMemory.AlignedFree(scratch);

        void All(Action<nint> fold)
        {
            for (int block = 0; block < Blocks; block++)
            {
                fold((nint)memory + ((nint)block * 2 * (half + scales)));
            }
        }

        void Stored(nint at)
        {
            byte* keys = (byte*)at, values = keys + half + scales;
            var block = new StoredBlock(type, keys, (ushort*)(keys + half), values, (ushort*)(values + half), keys);
            StoredAttentionBlock.Fold(rows, block, decodedKeys, Positions);
        }

        void Decoded(nint at)
        {
            byte* keys = (byte*)at, values = keys + half + scales;
            if (type == KvElementType.F32)
            {
                AttentionBlock.Fold(rows, (float*)keys, (float*)values, Positions);
                return;
            }

            DecodeKv.Keys(type, keys, (ushort*)(keys + half), headDim, decodedKeys);
            DecodeKv.Values(type, values, (ushort*)(values + half), headDim, headDim, decodedValues);
            AttentionBlock.Fold(rows, decodedKeys, decodedValues, Positions);
        }
    }
}
