namespace E2LLM.Kernels.Quantization;

/// <summary>Geometry of quantised activations, stated once.</summary>
internal static class ActivationBlock
{
    /// <summary>Elements that share one scale: the block of every simple quantised weight type.</summary>
    internal const int Elements = 32;

    /// <summary>Largest magnitude of a quantised activation.</summary>
    internal const float MaxMagnitude = 127f;

    /// <summary>
    /// Blocks whose largest magnitude is below this are stored as zero: their inverse scale would overflow. Far below anything that
    /// a sum of normal floats notices.
    /// </summary>
    internal const float SmallestMagnitude = 1e-35f;
}
