using E2LLM.Costs;

namespace E2LLM.Simulation.Validation;

/// <summary>What one pass on one device can be worth, for <see cref="ServiceBound"/>. Immutable.</summary>
/// <param name="Sequences">Sequences (rows of the head) that take part; the columns of a device are ordered by it.</param>
/// <param name="Value">Work done, in shares of a request.</param>
/// <param name="Seconds">Seconds of the device.</param>
/// <param name="PromptShare">What a prompt in the pass counts for: it may be computed on every device at once, and its shares add up to one.</param>
internal readonly record struct PassColumn(int Sequences, double Value, double Seconds, double PromptShare);

/// <summary>
/// The passes of a device that no other pass beats at every price: decode steps, prompt chunks and both together through one layer of each kind, and the head. Times are those of the shared
/// cost model, never longer: contexts are the shortest that occur, and keys and values of prompts are left out. Stateless.
/// </summary>
internal static class PassColumns
{
    // Prompt tokens of the largest pass looked at; beyond it arithmetic limits every device and nothing changes any more.
    private const double MaximumPassTokens = 16384;

    /// <summary>Work of one request by kind: decode steps and prompt operations for each layer kind, and head rows; <paramref name="worth"/> is what all of a kind is worth.</summary>
    public static PassColumn[] Of(DeviceProfile device, ModelCost model, (LayerCost Layer, int Count)[] kinds, int prompt, int output, WorkWorth worth, int maximumSequences, double promptShare)
    {
        var columns = new List<PassColumn>();
        for (int sequences = 0; sequences <= maximumSequences; sequences++)
        {
            for (int kind = 0; kind < kinds.Length; kind++)
            {
                (LayerCost layer, int count) = kinds[kind];
                double step = output > 1 ? worth.Decode[kind] / ((output - 1.0) * count) : 0, operation = worth.Prompt[kind] / (PromptOperations(layer, prompt) * count);
                AddLayer(columns, device, model, layer, prompt, step, operation, sequences, promptShare);
            }

            if (sequences > 0)
            {
                columns.Add(new PassColumn(sequences, sequences * worth.Head / Math.Max(1, output), StageCost.HeadSeconds(device, model, sequences), 0));
            }
        }

        return [.. columns];
    }

    /// <summary>Operations of a whole prompt in one layer, token by token: <c>P F + A sum of min(position, window)</c>. However a prompt is cut into chunks, no fewer are counted.</summary>
    public static double PromptOperations(LayerCost layer, int prompt)
    {
        double window = layer.Window > 0 ? Math.Min(layer.Window, prompt) : prompt;
        return (prompt * layer.FlopsPerToken) + (layer.AttentionFlopsPerPair * ((window * window / 2) + ((prompt - window) * window)));
    }

    private static void AddLayer(
        List<PassColumn> columns, DeviceProfile device, ModelCost model, LayerCost layer, int prompt, double step, double operation, int sequences, double promptShare)
    {
        double visible = layer.VisibleTokens(prompt), perSequence = layer.FlopsPerToken + (visible * layer.AttentionFlopsPerPair);
        double Bytes(double tokens) => StageCost.ReadBytes(model, layer, tokens + sequences) + (sequences * visible * layer.KvBytesPerToken);
        double Reading(double tokens) => Bytes(tokens) / device.MemoryBytesPerSecond;
        double Computing(double tokens, double each) => ((tokens * each) + (sequences * perSequence)) / device.ComputeFlopsPerSecond;
        if (sequences > 0)
        {
            columns.Add(new PassColumn(sequences, sequences * step, Math.Max(Reading(0), Computing(0, 0)), 0));
        }

        // Value per second is largest at the ends of what is possible: where reading and computing take equally long, or in the largest pass.
        foreach (double each in (double[])[layer.FlopsPerToken, layer.FlopsPerToken + (layer.AttentionFlopsPerPair * layer.VisibleTokens(prompt))])
        {
            double low = 0, high = MaximumPassTokens;
            for (int i = 0; i < 60 && Computing(0, each) < Reading(0); i++)
            {
                double middle = (low + high) / 2;
                (low, high) = Computing(middle, each) < Reading(middle) ? (middle, high) : (low, middle);
            }

            foreach (double tokens in (double[])[Math.Max(high, 1e-3), MaximumPassTokens])
            {
                columns.Add(new PassColumn(sequences, (sequences * step) + (tokens * each * operation), Math.Max(Reading(tokens), Computing(tokens, each)), promptShare));
            }
        }
    }
}

/// <summary>How a request's worth of one is divided among its work: by layer kind, decode steps and prompt; and the head. Immutable.</summary>
internal sealed record WorkWorth(double[] Decode, double[] Prompt, double Head)
{
    /// <summary>Sums to one for each request.</summary>
    public double Total => Decode.Sum() + Prompt.Sum() + Head;
}
