namespace E2LLM.Simulation.SplitwiseSim;

/// <summary>
/// The queues of a splitwise-sim server and the choice of its next batch. Order of choice: tasks passed over four times, prompts,
/// blocked token tasks, running token tasks, other token tasks by arrival; a running token task that no longer fits is blocked.
/// </summary>
internal sealed class SplitwiseBatchSelection(SplitwiseSettings settings)
{
    private readonly List<SplitwiseTask> _prompts = [], _blocked = [], _chosen = [];

    // Requests with unfinished tasks here, by arrival; each with its tasks in order.
    private readonly List<(SplitwiseRequest Request, List<SplitwiseTask> Tasks)> _pool = [];
    private readonly HashSet<SplitwiseRequest> _chosenRequests = [];

    /// <summary>Tasks that wait, by (times passed over, arrival) at the moment when each was added.</summary>
    public List<SplitwiseTask> Pending { get; } = [];

    public int BatchTokens { get; private set; }

    public bool HasRequests => _pool.Count > 0;

    public void AddToPool(SplitwiseTask task)
    {
        int known = _pool.FindIndex(p => p.Request == task.Request);
        if (known >= 0)
        {
            _pool[known].Tasks.Add(task);
            return;
        }

        int at = _pool.Count;
        while (at > 0 && _pool[at - 1].Request.ArrivalSeconds > task.Request.ArrivalSeconds)
        {
            at--;
        }

        _pool.Insert(at, (task.Request, [task]));
    }

    public void RemoveFromPool(SplitwiseTask task)
    {
        int at = _pool.FindIndex(p => p.Request == task.Request);
        _pool[at].Tasks.Remove(task);
        if (_pool[at].Tasks.Count == 0)
        {
            _pool.RemoveAt(at);
        }
    }

    public void AddPending(SplitwiseTask task, bool preempted)
    {
        // Counts of tasks already in the list have moved on since they were added, so this is a binary search in a list that may
        // not be sorted; the original does the same, and its numbers depend on it.
        int low = 0, high = Pending.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            SplitwiseTask other = Pending[middle];
            bool before = task.PreemptionCount < other.PreemptionCount
                || (task.PreemptionCount == other.PreemptionCount && task.Request.ArrivalSeconds < other.Request.ArrivalSeconds);
            (low, high) = before ? (low, middle) : (middle + 1, high);
        }

        Pending.Insert(low, task);
        if (preempted)
        {
            _blocked.Add(task);
        }

        if (task.IsPrompt)
        {
            _prompts.Add(task);
        }
    }

    /// <summary>Replaces the tasks of <paramref name="batch"/> by those of the next iteration.</summary>
    public void Select(List<SplitwiseTask> batch, double usedBytes, double capacityBytes, Func<int, double> kvBytes)
    {
        _chosen.Clear();
        _chosenRequests.Clear();
        BatchTokens = 0;
        double memory = usedBytes;

        // Takes a task; false where its memory does not fit. A blocked or running task holds its memory already.
        bool Take(SplitwiseTask task)
        {
            if (task.State == SplitwiseTaskState.Queued)
            {
                if (kvBytes(task.MemoryTokens) + memory > capacityBytes)
                {
                    return false;
                }

                memory += kvBytes(task.MemoryTokens);
            }

            _chosen.Add(task);
            _chosenRequests.Add(task.Request);
            BatchTokens += task.TokensPerIteration;
            return true;
        }

        // Whether a request that is chosen already is passed over before or after the token budget is looked at matters to the result.
        void TakeInOrder(IEnumerable<SplitwiseTask> tasks, bool skipChosenFirst = false, bool stopAtMemory = true)
        {
            foreach (SplitwiseTask task in tasks)
            {
                if (_chosen.Count == settings.MaxBatchTaskCount)
                {
                    return;
                }

                bool isChosen = _chosenRequests.Contains(task.Request);
                if (isChosen && skipChosenFirst)
                {
                    continue;
                }

                if (_chosen.Count > 0 && BatchTokens + task.TokensPerIteration > settings.MaxBatchTokenCount)
                {
                    return;
                }

                if (!isChosen && !Take(task) && stopAtMemory)
                {
                    return;
                }
            }
        }

        TakeInOrder(Pending.TakeWhile(t => t.PreemptionCount >= settings.MaxPreemptionCount), stopAtMemory: false);
        TakeInOrder(_prompts);
        TakeInOrder(_blocked);
        TakeInOrder(batch);
        TakeInOrder(_pool.Select(p => p.Tasks[0]), skipChosenFirst: true);
        Apply(batch);
    }

    private void Apply(List<SplitwiseTask> batch)
    {
        SplitwiseTask[] old = [.. batch];
        foreach (SplitwiseTask task in old)
        {
            if (!_chosen.Contains(task))
            {
                task.State = SplitwiseTaskState.Blocked;
                batch.Remove(task);
                AddPending(task, preempted: true);
            }
        }

        foreach (SplitwiseTask task in _chosen)
        {
            if (!old.Contains(task))
            {
                Pending.Remove(task);
                _blocked.Remove(task);
                _prompts.Remove(task);
                batch.Add(task);
            }
        }

        foreach ((_, List<SplitwiseTask> tasks) in _pool)
        {
            if (!batch.Contains(tasks[0]))
            {
                tasks[0].PreemptionCount++;
            }
        }
    }
}
