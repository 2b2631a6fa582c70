using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using E2LLM.Kernels.Lanes;
using E2LLM.Kernels.MatMul;

namespace E2LLM.Benchmarks;

/// <summary>
/// Every type's product on every instruction-set path that the machine has, in turn, on one thread: Gop/s for 64 tokens and for one, with weights in the second-level cache. No path may be slower than
/// the one to its left.
/// </summary>
internal static unsafe class PathBenchmark
{
    private const int Rows = 256;
    private const int Columns = 2048;
    private const int Tokens = 64;
    private const int Repeats = 60;

    private static readonly string[] Paths = ["Scalar", "Vector128", "AVX2", "AVX-VNNI", "AVX-512", "panels"];

    public static void Run(TensorType[] types)
    {
        Console.WriteLine($"{"type",-6} {"tokens",6} {string.Concat(Paths.Select(path => $"{path,10}"))}   (Gop/s, least of {Repeats} in turn; for plain floats AVX2 is 256 bits and AVX-512 512)");
        foreach (TensorType type in types.Length > 0 ? types : Enum.GetValues<TensorType>())
        {
            Run(type, Tokens);
            Run(type, 1);
        }
    }

    private static void Run(TensorType type, int tokens)
    {
        using var data = new ProductData(type, Rows, Columns, tokens);
        Action?[] actions = [.. Paths.Select(path => Product(type, path, data, tokens))];
        double[] least = [.. actions.Select(_ => double.MaxValue)];
        for (int repeat = 0; repeat < Repeats; repeat++)
        {
            for (int path = 0; path < actions.Length; path++)
            {
                // Scalar products take a hundred times as long: a few tell enough.
                if (actions[path] is { } action && (repeat < 3 || path > 0))
                {
                    least[path] = Math.Min(least[path], Clock.Seconds(tokens == 1 ? 16 : 1, action).Least);
                }
            }
        }

        double operations = 2.0 * Rows * Columns * tokens / 1e9;
        Console.WriteLine($"{type,-6} {tokens,6} {string.Concat(least.Select((seconds, path) => actions[path] is null ? $"{"-",10}" : $"{operations / seconds,10:F1}"))}");
    }

    private static Action? Product(TensorType type, string path, ProductData data, int tokens)
    {
        const int Groups = Rows / PackedQuantizedRows.GroupRows;
        var blocks = new RowProduct<QuantizedActivations>(data.Weights, Rows, Columns, 0, Groups, data.X.Blocks32, tokens, data.Y, Rows);
        var superBlocks = new RowProduct<SuperBlockActivations>(data.Weights, Rows, Columns, 0, Groups, data.X.Blocks256, tokens, data.Y, Rows);
        return type switch
        {
            TensorType.Q8_0 => Blocks<Bits8, Q8_0Format>(path, blocks),
            TensorType.Q4_0 => Blocks<Bits4, Q4_0Format>(path, blocks),
            TensorType.Q4_1 => Blocks<Bits4, Q4_1Format>(path, blocks),
            TensorType.Q5_0 => Blocks<Bits5, Q5_0Format>(path, blocks),
            TensorType.Q5_1 => Blocks<Bits5, Q5_1Format>(path, blocks),
            TensorType.Q4_K => SuperBlocks<Bits4, Q4_KFormat>(path, superBlocks),
            TensorType.Q5_K => SuperBlocks<Bits5, Q5_KFormat>(path, superBlocks),
            TensorType.Q6_K => SuperBlocks<Bits6, Q6_KFormat>(path, superBlocks),
            _ => Floats(type, path, new MatMulFloat.Call(data.Weights, Rows, Columns, 0, Groups, data.X.Single, tokens, data.Y, Rows)),
        };
    }

    private static Action? Blocks<TLayout, TFormat>(string path, RowProduct<QuantizedActivations> product)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout> => path switch
        {
            "panels" when Avx512BW.IsSupported && PanelDot512.Takes<TLayout>() => () => product.Run<QuantizedTile512<TLayout, TFormat>, NibblePanel512<TLayout, TFormat>, QuantizedPanel512<TLayout, TFormat>>(),
            "AVX-512" when Avx512BW.IsSupported && TLayout.MaxQuant < 128 => () => product.Run<QuantizedTile512<TLayout, TFormat>>(),
            "AVX-512" when Avx512BW.IsSupported && AvxVnni.IsSupported && !TFormat.HasMinimum => () => product.Run<QuantizedTileVnni<TLayout, TFormat>>(),
            "AVX-VNNI" when AvxVnni.IsSupported => () => product.Run<QuantizedTile<TLayout, TFormat, AvxVnniDot>>(),
            "AVX2" when Avx2.IsSupported && TLayout.MaxQuant > 127 => () => product.Run<QuantizedTile<TLayout, TFormat, Avx2SignedDot>>(),
            "AVX2" when Avx2.IsSupported => () => product.Run<QuantizedTile<TLayout, TFormat, Avx2Dot>>(),
            "Vector128" when Vector128Dot<TLayout>.IsSupported => () => product.Run<QuantizedTile<TLayout, TFormat, Vector128Dot<TLayout>>>(),
            "Scalar" => () => product.Run<QuantizedTileScalar<TLayout, TFormat>>(),
            _ => null,
        };

    private static Action? SuperBlocks<TLayout, TFormat>(string path, RowProduct<SuperBlockActivations> product)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout> => path switch
        {
            "panels" when Avx512BW.IsSupported && PanelDot512.Takes<TLayout>() => () => product.Run<SuperBlockTile512<TLayout, TFormat>, SuperBlockPanel512<TLayout, TFormat>>(),
            "AVX-512" when Avx512BW.IsSupported => () => product.Run<SuperBlockTile512<TLayout, TFormat>>(),
            "AVX-VNNI" when AvxVnni.IsSupported => () => product.Run<SuperBlockTile<TLayout, TFormat, AvxVnniDot>>(),
            "AVX2" when Avx2.IsSupported => () => product.Run<SuperBlockTile<TLayout, TFormat, Avx2Dot>>(),
            "Vector128" when Vector128Dot<TLayout>.IsSupported => () => product.Run<SuperBlockTile<TLayout, TFormat, Vector128Dot<TLayout>>>(),
            "Scalar" => () => product.Run<SuperBlockTileScalar<TLayout, TFormat>>(),
            _ => null,
        };

    private static Action? Floats(TensorType type, string path, MatMulFloat.Call call) => path switch
    {
        "AVX-512" when Vector512.IsHardwareAccelerated => () => MatMulFloat.Multiply<Vector512<float>, FloatLanes512>(type, call),
        "AVX2" when Vector256.IsHardwareAccelerated => () => MatMulFloat.Multiply<Vector256<float>, FloatLanes256>(type, call),
        "Vector128" when Vector128.IsHardwareAccelerated => () => MatMulFloat.Multiply<Vector128<float>, FloatLanes128>(type, call),
        "Scalar" => () => MatMulFloat.Multiply<float, FloatLanesScalar>(type, call),
        _ => null,
    };
}
