namespace E2LLM.Simulation.SplitwiseSim;

/// <summary>Where a task of the compatible mode stands.</summary>
internal enum SplitwiseTaskState
{
    None,
    Queued,
    Running,
    Blocked,
    Completed,
}

/// <summary>One phase of a request: its whole prompt as one iteration, or its remaining tokens, one iteration each.</summary>
internal sealed class SplitwiseTask(SplitwiseRequest request, bool isPrompt, int size)
{
    public SplitwiseRequest Request { get; } = request;

    public bool IsPrompt { get; } = isPrompt;

    /// <summary>Tokens that the task counts in an iteration's budget: the whole prompt, or one.</summary>
    public int TokensPerIteration => IsPrompt ? Size : 1;

    /// <summary>Prompt tokens, or tokens to generate after the first.</summary>
    public int Size { get; } = size;

    /// <summary>Tokens whose keys and values the task allocates when it starts: prompt + 1, or every output token.</summary>
    public int MemoryTokens => IsPrompt ? Size + 1 : Size;

    public SplitwiseTaskState State { get; set; }

    /// <summary>Times that an iteration began without it; four of them put it first.</summary>
    public int PreemptionCount { get; set; }

    public int GeneratedCount { get; set; }

    public bool IsComplete => IsPrompt ? GeneratedCount >= 1 : GeneratedCount >= Size;

    public double StartSeconds { get; set; }

    public double EndSeconds { get; set; }
}

/// <summary>A request: a prompt task and then, on the same machine or after a transfer, a token task.</summary>
internal sealed class SplitwiseRequest
{
    public SplitwiseRequest(int id, double arrivalSeconds, int promptTokens, int outputTokens)
    {
        Id = id;
        ArrivalSeconds = arrivalSeconds;
        OutputTokens = outputTokens;
        Prompt = new SplitwiseTask(this, isPrompt: true, promptTokens);

        // The prompt's iteration emits the first token.
        Token = new SplitwiseTask(this, isPrompt: false, outputTokens - 1);
    }

    public int Id { get; }

    public double ArrivalSeconds { get; }

    public int OutputTokens { get; }

    public SplitwiseTask Prompt { get; }

    public SplitwiseTask Token { get; }

    /// <summary>Bytes of keys and values that the request holds on the machine that has it.</summary>
    public double MemoryBytes { get; set; }

    public SplitwiseMachine PromptMachine { get; set; } = null!;

    public SplitwiseMachine TokenMachine { get; set; } = null!;
}

/// <summary>What splitwise-sim writes per request, seconds.</summary>
internal readonly record struct SplitwiseOutcome(
    int Id, double EndToEndSeconds, double QueueSeconds, double TtftSeconds, double TbtSeconds, double NthTokenOverheadSeconds,
    string PromptRunner, string TokenRunner, double PromptStart, double PromptEnd, double TokenStart, double TokenEnd);
