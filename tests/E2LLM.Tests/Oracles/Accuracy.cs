namespace E2LLM.Tests.Oracles;

/// <summary>How far results are from the truth: <c>NMSE = sum (actual - expected)^2 / sum expected^2</c>.</summary>
internal static class Accuracy
{
    public const double Float = 1e-7;
    public const double Quantized = 5e-4;

    public static double Nmse(ReadOnlySpan<double> expected, ReadOnlySpan<float> actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        double error = 0, power = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            error += (actual[i] - expected[i]) * (actual[i] - expected[i]);
            power += expected[i] * expected[i];
        }

        return error == 0 ? 0 : error / power;
    }

    public static void AssertClose(ReadOnlySpan<double> expected, ReadOnlySpan<float> actual, double nmse, string what)
    {
        double found = Nmse(expected, actual);
        Assert.True(found <= nmse, $"{what}: NMSE {found:E2} above {nmse:E0}");
    }
}
