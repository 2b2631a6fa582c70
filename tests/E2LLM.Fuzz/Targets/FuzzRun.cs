namespace E2LLM.Fuzz.Targets;

/// <summary>Runs a target over a number of inputs; the same seed gives the same inputs.</summary>
internal static class FuzzRun
{
    /// <summary>Returns how many inputs were taken. A failure says which input it was and holds the input.</summary>
    public static long Run(IFuzzTarget target, int seed, long iterations, Func<bool>? isOver = null, Action<byte[]>? accepted = null)
    {
        long taken = 0;
        for (long i = 0; i < iterations && !(isOver?.Invoke() ?? false); i++)
        {
            byte[] input = target.CreateInput(new Random(HashOf(seed, i)));
            try
            {
                if (target.Check(input))
                {
                    taken++;
                    accepted?.Invoke(input);
                }
            }
            catch (Exception error)
            {
                throw new FuzzFailureException(
                    $"{target.Name}, seed {seed}, input {i}: {error.GetType().Name}: {error.Message} Input: {Convert.ToBase64String(input)}", error);
            }
        }

        return taken;
    }

    private static int HashOf(int seed, long index) => unchecked((int)(((seed * 0x9E3779B9L) + index) * 0x2545F4914F6CDD1DL >> 32));
}
