namespace E2LLM.Simulation.SplitwiseSim;

/// <summary>Chooses both machines of a request at its arrival.</summary>
internal interface ISplitwiseScheduler
{
    /// <summary>Sets the request's machines and books its tokens and memory on them.</summary>
    void Assign(SplitwiseRequest request);

    /// <summary>A machine has neither a batch nor a request left.</summary>
    void MachineIsFree(SplitwiseMachine machine);
}

/// <summary>The baseline: prompt and tokens on the machine with the fewest pending tokens.</summary>
internal sealed class TokenJsqScheduler(IReadOnlyList<SplitwiseMachine> machines) : ISplitwiseScheduler
{
    public void Assign(SplitwiseRequest request)
    {
        SplitwiseMachine machine = machines.MinBy(m => m.PendingTokens)!;
        request.PromptMachine = request.TokenMachine = machine;
        machine.PendingTokens += request.Prompt.Size + 1;
    }

    public void MachineIsFree(SplitwiseMachine machine)
    {
        // Every machine serves both phases for ever.
    }
}

/// <summary>
/// Splitwise: a prompt pool, a token pool, and a mixed pool that borrows from both when the prompt queue is long or token memory is full.
/// </summary>
internal sealed class MixedPoolScheduler : ISplitwiseScheduler
{
    private readonly List<SplitwiseMachine> _prompt, _token, _mixed = [];
    private readonly SplitwiseSettings _settings;

    public MixedPoolScheduler(IEnumerable<SplitwiseMachine> machines, SplitwiseSettings settings)
    {
        _prompt = [.. machines.Where(m => m.IsPromptPool)];
        _token = [.. machines.Where(m => !m.IsPromptPool)];
        _settings = settings;
    }

    public void Assign(SplitwiseRequest request)
    {
        SplitwiseMachine? prompt = LeastPending(_prompt, request) ?? LeastPending(_mixed, request);
        SplitwiseMachine? token = MostMemory(_token, request) ?? MostMemory(_mixed, request);
        if (prompt is null && _token.Count > 0)
        {
            prompt = Borrow(_token, m => m.PendingTokens);
        }

        if (token is null && _prompt.Count > 0)
        {
            token = Borrow(_prompt, m => m.PromisedBytes);
        }

        if (prompt is null || token is null)
        {
            prompt = token = _prompt.Concat(_mixed).Concat(_token).MinBy(m => m.PendingTokens)!;
        }

        (request.PromptMachine, request.TokenMachine) = (prompt, token);
        double promptBytes = prompt.KvBytes(request.Prompt.MemoryTokens), tokenBytes = token.KvBytes(request.Token.MemoryTokens);
        if (prompt != token)
        {
            prompt.PromisedBytes += promptBytes;
        }

        token.PromisedBytes += promptBytes + tokenBytes;
        prompt.PendingTokens += request.Prompt.Size;
        token.PendingTokens++;
    }

    public void MachineIsFree(SplitwiseMachine machine)
    {
        if (machine.IsMixed)
        {
            machine.IsMixed = false;
            _mixed.Remove(machine);
            (machine.IsPromptPool ? _prompt : _token).Add(machine);
        }
    }

    private SplitwiseMachine? LeastPending(List<SplitwiseMachine> pool, SplitwiseRequest request) =>
        pool.MinBy(m => m.PendingTokens) is { } machine
        && !(machine.HasPendingTasks && machine.PendingTokens + request.Prompt.Size > _settings.MaxPendingPromptTokenCount)
            ? machine : null;

    private static SplitwiseMachine? MostMemory(List<SplitwiseMachine> pool, SplitwiseRequest request) =>
        pool.MinBy(m => m.PromisedBytes) is { } machine
        && machine.PromisedBytes + machine.KvBytes(request.Prompt.MemoryTokens + request.Token.MemoryTokens) < machine.CapacityBytes
            ? machine : null;

    private SplitwiseMachine Borrow(List<SplitwiseMachine> pool, Func<SplitwiseMachine, double> key)
    {
        SplitwiseMachine machine = pool.MinBy(key)!;
        pool.Remove(machine);
        _mixed.Add(machine);
        machine.IsMixed = true;
        return machine;
    }
}
