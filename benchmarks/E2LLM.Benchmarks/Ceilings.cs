using E2LLM.Kernels.MatMul;

namespace E2LLM.Benchmarks;

/// <summary>What one core can do at most, measured in the run whose kernels are held against it: bytes or operations per second.</summary>
/// <param name="Read">Bytes read from memory.</param>
/// <param name="Near">Bytes read from the first-level cache.</param>
/// <param name="Floats">Float operations of 512-bit fused multiply-adds.</param>
/// <param name="Bytes">8-bit operations of 256-bit vpdpbusd, or 0 without it.</param>
/// <param name="Pairs">8-bit operations of 512-bit vpmaddubsw with their additions, or 0 without it.</param>
internal sealed record Ceilings(double Read, double Near, double Floats, double Bytes, double Pairs)
{
    public static Ceilings Measure() => new(
        Calibration.ReadBytesPerSecond(), Calibration.NearReadBytesPerSecond(), Calibration.FloatOperationsPerSecond(), Calibration.ByteOperationsPerSecond(), Calibration.PairOperationsPerSecond());

    /// <summary>The ceiling of a type's products: weights below 64 are multiplied by vpmaddubsw, bytes by vpdpbusd, all others as floats.</summary>
    public (string Name, double Rate) OfProducts(TensorType type) =>
        PackedMatrix.FormOf(type) == ActivationForm.Single ? ("FMA-512", Floats) : type == TensorType.Q8_0 || Pairs == 0 ? ("VNNI-256", Bytes) : ("vpmaddubsw-512", Pairs);

    public override string ToString() => FormattableString.Invariant(
        $"one core: read {Read / 1e9:F1} GB/s, first-level cache {Near / 1e9:F0} GB/s, FMA-512 {Floats / 1e9:F0} Gop/s, VNNI-256 {Bytes / 1e9:F0} Gop/s, vpmaddubsw-512 with its addition {Pairs / 1e9:F0} Gop/s");
}
