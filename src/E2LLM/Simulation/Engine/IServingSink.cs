namespace E2LLM.Simulation.Engine;

/// <summary>Takes what a run produces. Called in the order of events.</summary>
internal interface IServingSink
{
    /// <summary>A request is done.</summary>
    void Completed(in CompletedRequest request);

    /// <summary>Whether <see cref="StagePass"/> and <see cref="Transfer"/> are wanted.</summary>
    bool WantsTimeline { get; }

    /// <summary>A pass occupies a stage.</summary>
    void StagePass(int replica, int stage, double start, double end, int promptTokens, int decodeCount);

    /// <summary>Bytes of a KV cache arrived.</summary>
    void Transfer(int fromDevice, int toDevice, double start, double end, long request);
}

/// <summary>Drops everything. Stateless.</summary>
internal sealed class NoSink : IServingSink
{
    public static NoSink Instance { get; } = new();

    public bool WantsTimeline => false;

    public void Completed(in CompletedRequest request)
    {
        // Dropped.
    }

    public void StagePass(int replica, int stage, double start, double end, int promptTokens, int decodeCount)
    {
        // Dropped.
    }

    public void Transfer(int fromDevice, int toDevice, double start, double end, long request)
    {
        // Dropped.
    }
}
