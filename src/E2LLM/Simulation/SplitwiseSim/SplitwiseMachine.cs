namespace E2LLM.Simulation.SplitwiseSim;

/// <summary>
/// One server of splitwise-sim: iterations over a batch of prompt and token tasks. A batch of token tasks alone runs as many iterations
/// at a stretch as its shortest task needs; an arrival cuts the stretch at the next iteration boundary.
/// </summary>
internal sealed class SplitwiseMachine(int id, string hardware, bool isPromptPool, SplitwiseProfile profile, SplitwiseSettings settings, SplitwiseSimulator simulator)
{
    private readonly List<SplitwiseTask> _batch = [];
    private readonly SplitwiseBatchSelection _selection = new(settings);
    private double _iterationSeconds, _completionTime;
    private double _stretch;
    private bool _cutRequested;
    private int _generation;

    public int Id { get; } = id;

    public string Name { get; } = $"{hardware}_{id}";

    /// <summary>The pool that the machine belongs to and returns to.</summary>
    public bool IsPromptPool { get; } = isPromptPool;

    /// <summary>Whether the mixed pool has it at present.</summary>
    public bool IsMixed { get; set; }

    /// <summary>Bytes in use, and bytes that the scheduler has promised.</summary>
    public double MemoryBytes { get; private set; } = settings.WeightBytes;

    public double PromisedBytes { get; set; } = settings.WeightBytes;

    public double CapacityBytes => settings.MachineMemoryBytes;

    /// <summary>Prompt tokens plus one for each token task that the scheduler has sent and that are not done.</summary>
    public int PendingTokens { get; set; }

    public bool HasPendingTasks => _selection.Pending.Count > 0;

    public double KvBytes(int tokens) => tokens * settings.KvBytesPerToken;

    public void Allocate(double bytes) => MemoryBytes += bytes;

    public void Free(double bytes)
    {
        MemoryBytes -= bytes;
        PromisedBytes -= bytes;
    }

    public void Receive(SplitwiseTask task)
    {
        task.State = SplitwiseTaskState.Queued;
        _selection.AddToPool(task);
        _selection.AddPending(task, preempted: false);
        if (_batch.Count == 0)
        {
            if (MemoryBytes + KvBytes(task.MemoryTokens) <= CapacityBytes)
            {
                StartIteration();
            }

            return;
        }

        int batchTokens = _selection.BatchTokens, batchPromptTokens = batchTokens - _batch.Count(t => !t.IsPrompt);
        bool fits = _batch.Count < settings.MaxBatchTaskCount && batchTokens + task.TokensPerIteration <= settings.MaxBatchTokenCount;
        bool preempts = task.IsPrompt && _batch.Exists(t => !t.IsPrompt) && batchPromptTokens + task.Size <= settings.MaxBatchTokenCount;
        if (fits || preempts)
        {
            CutStretch();
        }
    }

    /// <summary>A transfer away from here has ended and freed memory.</summary>
    public void NotifyTransferDone()
    {
        if (_selection.Pending.Count == 0)
        {
            return;
        }

        if (_batch.Count == 0)
        {
            if (MemoryBytes + KvBytes(_selection.Pending[0].MemoryTokens) <= CapacityBytes)
            {
                StartIteration();
            }
        }
        else if (_batch.Count < settings.MaxBatchTaskCount && _selection.BatchTokens < settings.MaxBatchTokenCount)
        {
            CutStretch();
        }
    }

    /// <summary>The stretch of iterations is over, unless <paramref name="generation"/> says that it was cut meanwhile.</summary>
    public void CompleteIteration(int generation)
    {
        if (generation != _generation)
        {
            return;
        }

        foreach (SplitwiseTask task in _batch)
        {
            task.GeneratedCount += (int)_stretch;
        }

        foreach (SplitwiseTask task in _batch.Where(t => t.IsComplete).ToArray())
        {
            task.State = SplitwiseTaskState.Completed;
            task.EndSeconds = simulator.Now;
            PendingTokens -= task.IsPrompt ? task.Size : 1;
            if (!task.IsPrompt)
            {
                Free(task.Request.MemoryBytes);
                task.Request.MemoryBytes = 0;
            }

            _batch.Remove(task);
            _selection.RemoveFromPool(task);
            simulator.TaskCompleted(task);
        }

        _cutRequested = false;
        StartIteration();
    }

    private void StartIteration()
    {
        _selection.Select(_batch, MemoryBytes, CapacityBytes, KvBytes);
        if (_batch.Count == 0)
        {
            if (!_selection.HasRequests)
            {
                simulator.Scheduler.MachineIsFree(this);
            }

            return;
        }

        int prompts = 0, tokens = 0, batchTokens = 0, shortest = int.MaxValue;
        foreach (SplitwiseTask task in _batch)
        {
            (prompts, tokens) = task.IsPrompt ? (prompts + 1, tokens) : (prompts, tokens + 1);
            batchTokens += task.TokensPerIteration;
            shortest = Math.Min(shortest, task.Size - task.GeneratedCount);
        }

        _iterationSeconds = profile.IterationSeconds(prompts, tokens, batchTokens);
        _stretch = prompts > 0 ? 1 : shortest;
        foreach (SplitwiseTask task in _batch)
        {
            if (task.State == SplitwiseTaskState.Queued)
            {
                task.StartSeconds = simulator.Now;
                double bytes = KvBytes(task.MemoryTokens);
                Allocate(bytes);
                task.Request.MemoryBytes += bytes;
            }

            task.State = SplitwiseTaskState.Running;
        }

        _completionTime = simulator.Now + (_iterationSeconds * _stretch);
        simulator.ScheduleIterationEnd(_completionTime, Id, ++_generation);
    }

    private void CutStretch()
    {
        if (_cutRequested || _batch.Exists(t => t.IsPrompt))
        {
            return;
        }

        _cutRequested = true;
        double elapsed = simulator.Now - (_completionTime - (_iterationSeconds * _stretch));
        _stretch = Math.Min(_stretch, FloorDivide(elapsed, _iterationSeconds) + 1);
        _completionTime = simulator.Now + Math.Max(0, (_iterationSeconds * _stretch) - elapsed);
        simulator.ScheduleIterationEnd(_completionTime, Id, ++_generation);
    }

    // Whole divisions as the original's language rounds them: from the exact remainder, not from the rounded quotient.
    private static double FloorDivide(double value, double divisor)
    {
        double quotient = (value - (value % divisor)) / divisor, floor = Math.Floor(quotient);
        return quotient - floor > 0.5 ? floor + 1 : floor;
    }
}
