namespace E2LLM.Kernels.Lanes;

/// <summary>
/// One vector of floats as the kernels' loops see it, so that a loop is written once and compiled for each width. Every member
/// is element-wise, so that a lane's result does not depend on the width; but for the two whose names say that they reduce.
/// </summary>
/// <typeparam name="TVector">The vector that holds the lanes.</typeparam>
internal unsafe interface IFloatLanes<TVector>
    where TVector : unmanaged
{
    /// <summary>Lanes in a vector: a power of two from 1 to 16.</summary>
    static abstract int Count { get; }

    static abstract TVector Zero { get; }

    static abstract TVector Broadcast(float value);

    static abstract TVector Load(float* source);

    /// <summary>Loads binary16 numbers and widens them exactly.</summary>
    static abstract TVector LoadHalf(ushort* source);

    /// <summary>
    /// Widens the binary16 numbers in the low halves of 32-bit words: <c>value * 2^-112</c>, exact. Infinities and NaN are not known: they come out as numbers of the next exponent.
    /// </summary>
    static abstract TVector LoadLowHalves(uint* source);

    /// <summary>The same of the high halves.</summary>
    static abstract TVector LoadHighHalves(uint* source);

    /// <summary>Remembers the largest magnitudes among the halves of words, in a vector that is only good for <see cref="AnySpecialHalf"/>; begins with <see cref="Zero"/>.</summary>
    static abstract TVector LargestHalves(TVector soFar, uint* source);

    /// <summary>Whether an infinity or a NaN was among the halves.</summary>
    static abstract bool AnySpecialHalf(TVector largest);

    /// <summary>Loads bfloat16 numbers and widens them exactly.</summary>
    static abstract TVector LoadBFloat16(ushort* source);

    /// <summary>Widens the bfloat16 numbers in the low halves of 32-bit words exactly.</summary>
    static abstract TVector LoadLowBFloat16(uint* source);

    /// <summary>The same of the high halves.</summary>
    static abstract TVector LoadHighBFloat16(uint* source);

    /// <summary>Loads signed bytes and converts them exactly.</summary>
    static abstract TVector LoadSByte(sbyte* source);

    static abstract void Store(TVector value, float* destination);

    /// <summary>The elements 0, 2, 4 ... of the next two vectors.</summary>
    static abstract TVector LoadEven(float* source);

    /// <summary>The elements 1, 3, 5 ... of the next two vectors.</summary>
    static abstract TVector LoadOdd(float* source);

    /// <summary>Writes two vectors' elements in turn: what <see cref="LoadEven"/> and <see cref="LoadOdd"/> read.</summary>
    static abstract void StoreInTurn(TVector even, TVector odd, float* destination);

    static abstract TVector Add(TVector left, TVector right);

    static abstract TVector Subtract(TVector left, TVector right);

    static abstract TVector Multiply(TVector left, TVector right);

    static abstract TVector Divide(TVector left, TVector right);

    /// <summary>The larger of each pair; NaN where either is.</summary>
    static abstract TVector Max(TVector left, TVector right);

    /// <summary>The largest lane; NaN where any is.</summary>
    static abstract float MaxAcross(TVector value);

    /// <summary>The sum of all lanes, halves onto halves: an order that depends on the width alone.</summary>
    static abstract float SumAcross(TVector value);

    /// <summary><c>left * right + addend</c>, rounded once where the machine can, else twice: fixed for a process.</summary>
    static abstract TVector MultiplyAdd(TVector left, TVector right, TVector addend);

    /// <summary><c>value * 2^n</c> for whole numbers n, given as <c>n + 1.5 * 2^23</c>, by adding to the exponent: value and result must be normal.</summary>
    static abstract TVector ScaleByPowerOfTwo(TVector value, TVector shiftedExponent);

    /// <summary><c>left &lt; right ? whenTrue : whenFalse</c>; false where either is NaN.</summary>
    static abstract TVector SelectLess(TVector left, TVector right, TVector whenTrue, TVector whenFalse);

    static abstract TVector Abs(TVector value);
}

/// <summary>How a stored element becomes a float lane.</summary>
internal unsafe interface IFloatElement
{
    /// <summary>Bytes of one stored element.</summary>
    static abstract int Bytes { get; }

    static abstract TVector Load<TVector, TLanes>(byte* source)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>;
}

/// <summary>binary32 elements.</summary>
internal readonly unsafe struct SingleElement : IFloatElement
{
    public static int Bytes => sizeof(float);

    public static TVector Load<TVector, TLanes>(byte* source)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.Load((float*)source);
}

/// <summary>binary16 elements.</summary>
internal readonly unsafe struct HalfElement : IFloatElement
{
    public static int Bytes => sizeof(ushort);

    public static TVector Load<TVector, TLanes>(byte* source)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.LoadHalf((ushort*)source);
}

/// <summary>bfloat16 elements.</summary>
internal readonly unsafe struct BFloat16Element : IFloatElement
{
    public static int Bytes => sizeof(ushort);

    public static TVector Load<TVector, TLanes>(byte* source)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.LoadBFloat16((ushort*)source);
}
