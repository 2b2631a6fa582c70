namespace E2LLM.Kernels.MatMul;

/// <summary>In which form weights of some type want the activations they are multiplied with.</summary>
internal enum ActivationForm
{
    /// <summary>Plain floats.</summary>
    Single,

    /// <summary>Signed bytes in blocks of 32.</summary>
    Blocks32,

    /// <summary>Signed bytes in blocks of 256.</summary>
    Blocks256,
}

/// <summary>The same activations in every form that was prepared. Borrowed pointers.</summary>
internal readonly unsafe struct Activations(float* single, QuantizedActivations blocks32, SuperBlockActivations blocks256)
{
    internal readonly float* Single = single;
    internal readonly QuantizedActivations Blocks32 = blocks32;
    internal readonly SuperBlockActivations Blocks256 = blocks256;
}
