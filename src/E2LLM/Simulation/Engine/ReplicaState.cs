using E2LLM.Simulation.Models;

namespace E2LLM.Simulation.Engine;

/// <summary>
/// A replica at work: its queues, its lanes, its KV memory and when each of its stages is free. The rules by which requests move stand in
/// the Serving types; this is the state and the arithmetic of a pass. Not thread-safe.
/// </summary>
internal sealed class ReplicaState
{
    private readonly double[] _freeAt;

    // Begin and end of the passes that may not be through yet, [stage, number modulo _recent]: no more than there are lanes.
    private readonly double[] _passStart, _passEnd;
    private readonly int _recent;
    private int _passCount;

    public ReplicaState(int index, ReplicaModel model, SimulationOptions options, FairShareNetwork network)
    {
        Index = index;
        Model = model;
        Network = network;
        Memory = new KvMemory(model.Stages);
        int stages = model.Stages.Length;
        _freeAt = new double[stages];
        StageStart = new double[stages];
        StageEnd = new double[stages];
        BusySeconds = new double[stages];
        int lanes = options.LaneCount > 0 ? options.LaneCount : stages > 1 && !model.ServesDecode ? stages + 1 : stages;
        Lanes = [.. Enumerable.Range(0, lanes).Select(_ => new Lane())];
        _recent = lanes + 1;
        _passStart = new double[stages * _recent];
        _passEnd = new double[stages * _recent];
    }

    public int Index { get; }

    /// <summary>Stages never change; role and slots may, when a new plan says so.</summary>
    public ReplicaModel Model { get; set; }

    public FairShareNetwork Network { get; }

    public KvMemory Memory { get; }

    public Lane[] Lanes { get; }

    /// <summary>Begin and end of the last computed pass on each stage.</summary>
    public double[] StageStart { get; }

    public double[] StageEnd { get; }

    public double[] BusySeconds { get; }

    /// <summary>Prompts that have not begun, by key; ties by arrival.</summary>
    public PriorityQueue<RequestState, (double Key, long Id)> PrefillQueue { get; } = new();

    /// <summary>The prompt that has begun and has tokens left.</summary>
    public RequestState? PartialPrompt { get; set; }

    /// <summary>Done prompts of other replicas that wait for KV memory here.</summary>
    public LinkedList<RequestState> WaitingForMemory { get; } = new();

    /// <summary>Requests that are not opened before a sequence here has ended, with the epoch in which they came.</summary>
    public Queue<(RequestState Request, int Epoch)> WaitingForSlot { get; } = new();

    /// <summary>Sequences with their KV cache here that wait for a slot.</summary>
    public LinkedList<RequestState> Ready { get; } = new();

    public int DecodingCount { get; set; }

    /// <summary>Prompt tokens that were sent here and have not been in a completed pass; output tokens promised by sequences sent here.</summary>
    public long PendingPromptTokens { get; set; }

    public long PendingOutputTokens { get; set; }

    /// <summary>Tokens of prompts that were sent here and are not through, those of them that have been in a pass as well: what a driver knows, who hears of whole prompts only.</summary>
    public long UnfinishedPromptTokens { get; set; }

    /// <summary>Requests sent here for prefill or decode that are not done with it.</summary>
    public int PendingPrefills { get; set; }

    public int PendingDecodes { get; set; }

    public bool IsUp { get; set; } = true;

    /// <summary>Lent to the other phase by the mixed pool.</summary>
    public bool IsLent { get; set; }

    /// <summary>Whether the new plan no longer has it: what is here finishes elsewhere.</summary>
    public bool IsRetired { get; set; }

    public bool AcceptsPrefill => IsUp && (Model.ServesPrefill || IsLent);

    public bool AcceptsDecode => IsUp && (Model.ServesDecode || IsLent);

    public bool HasPromptWork => PartialPrompt is not null || PrefillQueue.Count > 0;

    public bool HasFreeSlot => DecodingCount + Ready.Count < Model.DecodeSlots;

    /// <summary>
    /// Sends the lane's sequences and segments through all stages, first come first served at each; returns when the last stage is done.
    /// Passes never overtake each other, so each stage needs only the time at which it is free.
    /// </summary>
    /// <param name="lane">What takes part.</param>
    /// <param name="now">When it enters.</param>
    /// <param name="decodeCount">Sequences that decode.</param>
    /// <param name="headRows">Rows to score.</param>
    /// <param name="pushesBehind">Whether keys and values of a prompt's pass leave layer by layer, those of a stage's last layer together with the activations.</param>
    public double Pass(Lane lane, double now, int decodeCount, int headRows, bool pushesBehind)
    {
        int chunk = 0, pushed = 0;
        double pairs = 0;
        foreach (PromptSegment segment in lane.Segments)
        {
            chunk += segment.Tokens;
            pushed += pushesBehind && segment.Request.TargetPositions > 0 && segment.Request.DecodeReplica != Index ? segment.Tokens : 0;
            pairs += segment.Tokens * (segment.From + (segment.Tokens / 2.0));
        }

        // The context at which one prompt of that many tokens would attend to as many positions as these segments do.
        double chunkContext = chunk > 0 ? Math.Max(0, (pairs / chunk) - (chunk / 2.0)) : 0;
        double decodeContext = decodeCount > 0 ? (double)lane.ContextSum / decodeCount : 0;
        double time = now;
        StageModel[] stages = Model.Stages;
        for (int i = 0; i < stages.Length; i++)
        {
            double seconds = stages[i].Times.PassSeconds(chunk, chunkContext, decodeCount, decodeContext, headRows);
            double start = Math.Max(time, _freeAt[i]);
            StageStart[i] = start;
            StageEnd[i] = _freeAt[i] = time = start + seconds;
            int number = (i * _recent) + (_passCount % _recent);
            (_passStart[number], _passEnd[number]) = (start, time);
            BusySeconds[i] += seconds;
            if (i + 1 < stages.Length)
            {
                time += Network.MessageSeconds(stages[i].Device, stages[i + 1].Device, (chunk + decodeCount) * Model.HiddenStateBytes, pushed * stages[i].LastLayerKvBytesPerToken);
            }
        }

        _passCount++;

        // The sampled tokens go back to the stage that embeds them.
        return stages.Length > 1 && decodeCount > 0 ? time + Network.DelaySeconds(stages[^1].Device, stages[0].Device) : time;
    }

    /// <summary>When a stage takes a message without work that comes now: behind the pass that runs there, ahead of those that wait.</summary>
    public double MessageTaken(int stage, double now)
    {
        double taken = now;
        for (int k = stage * _recent; k < (stage + 1) * _recent; k++)
        {
            if (_passStart[k] <= now && _passEnd[k] > taken)
            {
                taken = _passEnd[k];
            }
        }

        return taken;
    }

    /// <summary>Forgets everything under way (after a failure). What its requests held must have been released.</summary>
    public void Clear(double now)
    {
        foreach (Lane lane in Lanes)
        {
            lane.Generation++;
            lane.InFlight = false;
            lane.Sequences.Clear();
            lane.Segments.Clear();
            lane.ContextSum = 0;
        }

        PrefillQueue.Clear();
        WaitingForMemory.Clear();
        WaitingForSlot.Clear();
        Ready.Clear();
        PartialPrompt = null;
        DecodingCount = PendingPrefills = 0;
        PendingPromptTokens = UnfinishedPromptTokens = 0;
        Array.Fill(_freeAt, now);
        Array.Fill(_passEnd, now);
    }
}
