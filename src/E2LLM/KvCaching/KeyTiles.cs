using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace E2LLM.KvCaching;

/// <summary><c>y[j][i] = x[i][j]</c> for tiles of 8 x 8 elements of 16 bits: keys between the blocks' layout and the canonical one, in either direction.</summary>
/// <remarks>Shapes: x 8 rows, xStride elements apart; y 8 rows, yStride elements apart; no overlap. Numerics: a copy.</remarks>
internal static unsafe class KeyTiles
{
    /// <summary>Rows and columns of a tile.</summary>
    internal const int Size = 8;

    /// <summary>Whether this machine has the instructions; otherwise the caller copies element by element.</summary>
    internal static bool IsSupported => Sse2.IsSupported || AdvSimd.Arm64.IsSupported;

    /// <summary>Transposes one tile: pairs, then pairs of pairs, then halves are interleaved.</summary>
    internal static void Transpose(ushort* x, nint xStride, ushort* y, nint yStride)
    {
        (Vector128<uint> a, Vector128<uint> b) = Zip16(Vector128.Load(x), Vector128.Load(x + xStride));
        (Vector128<uint> c, Vector128<uint> d) = Zip16(Vector128.Load(x + (2 * xStride)), Vector128.Load(x + (3 * xStride)));
        (Vector128<uint> e, Vector128<uint> f) = Zip16(Vector128.Load(x + (4 * xStride)), Vector128.Load(x + (5 * xStride)));
        (Vector128<uint> g, Vector128<uint> h) = Zip16(Vector128.Load(x + (6 * xStride)), Vector128.Load(x + (7 * xStride)));
        Store(Zip32(a, c), Zip32(e, g), y, yStride);
        Store(Zip32(b, d), Zip32(f, h), y + (4 * yStride), yStride);
    }

    private static void Store((Vector128<ulong> Low, Vector128<ulong> High) first, (Vector128<ulong> Low, Vector128<ulong> High) second, ushort* y, nint yStride)
    {
        Vector128.Create(first.Low.GetLower(), second.Low.GetLower()).AsUInt16().Store(y);
        Vector128.Create(first.Low.GetUpper(), second.Low.GetUpper()).AsUInt16().Store(y + yStride);
        Vector128.Create(first.High.GetLower(), second.High.GetLower()).AsUInt16().Store(y + (2 * yStride));
        Vector128.Create(first.High.GetUpper(), second.High.GetUpper()).AsUInt16().Store(y + (3 * yStride));
    }

    private static (Vector128<uint> Low, Vector128<uint> High) Zip16(Vector128<ushort> a, Vector128<ushort> b) => Sse2.IsSupported
        ? (Sse2.UnpackLow(a, b).AsUInt32(), Sse2.UnpackHigh(a, b).AsUInt32())
        : (AdvSimd.Arm64.ZipLow(a, b).AsUInt32(), AdvSimd.Arm64.ZipHigh(a, b).AsUInt32());

    private static (Vector128<ulong> Low, Vector128<ulong> High) Zip32(Vector128<uint> a, Vector128<uint> b) => Sse2.IsSupported
        ? (Sse2.UnpackLow(a, b).AsUInt64(), Sse2.UnpackHigh(a, b).AsUInt64())
        : (AdvSimd.Arm64.ZipLow(a, b).AsUInt64(), AdvSimd.Arm64.ZipHigh(a, b).AsUInt64());
}
