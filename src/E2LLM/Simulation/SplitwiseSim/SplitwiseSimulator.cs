using E2LLM.Simulation.Events;

namespace E2LLM.Simulation.SplitwiseSim;

/// <summary>
/// Reproduces splitwise-sim (Mutinifni/splitwise-sim, commit 8f99e7d) per request, so that the comparisons made here start from the numbers
/// that Splitwise's own simulator gives. It keeps that simulator's known simplifications (decode time looked up by the number of requests,
/// keys and values of all heads, transfers that never share a link): for comparisons of systems use ClusterSimulator.
/// One run per instance; not thread-safe.
/// </summary>
internal sealed class SplitwiseSimulator
{
    private const int Arrival = 0, IterationEnd = 1, TransferStart = 2, TransferEnd = 3;
    private readonly EventCalendar _calendar = new();
    private readonly SplitwiseSettings _settings;
    private readonly List<SplitwiseMachine> _machines = [];
    private readonly List<SplitwiseOutcome> _outcomes = [];
    private SplitwiseRequest[] _requests = [];

    /// <summary>Prepares a run.</summary>
    /// <param name="settings">Model and limits.</param>
    /// <param name="machines">Machines in the order of their ids: hardware name, prompt pool or token pool, profile.</param>
    /// <param name="mixedPool">Splitwise's scheduler; false for the baseline that joins the machine with the fewest pending tokens.</param>
    public SplitwiseSimulator(
        SplitwiseSettings settings, IEnumerable<(string Hardware, bool IsPromptPool, SplitwiseProfile Profile)> machines, bool mixedPool)
    {
        _settings = settings;
        foreach ((string hardware, bool isPrompt, SplitwiseProfile profile) in machines)
        {
            _machines.Add(new SplitwiseMachine(_machines.Count, hardware, isPrompt, profile, settings, this));
        }

        Scheduler = mixedPool ? new MixedPoolScheduler(_machines, settings) : new TokenJsqScheduler(_machines);
    }

    public ISplitwiseScheduler Scheduler { get; }

    public double Now => _calendar.Now;

    /// <summary>Runs all requests to their end and returns what happened to each, in the order of completion.</summary>
    public IReadOnlyList<SplitwiseOutcome> Run(IEnumerable<(double ArrivalSeconds, int PromptTokens, int OutputTokens)> trace)
    {
        _requests = [.. trace.Select((r, i) => new SplitwiseRequest(i, r.ArrivalSeconds, r.PromptTokens, r.OutputTokens))];
        foreach (SplitwiseRequest request in _requests)
        {
            _calendar.Schedule(request.ArrivalSeconds, Arrival, request.Id);
        }

        while (_calendar.TryTake(out SimulationEvent next))
        {
            switch (next.Kind)
            {
                case Arrival:
                    Arrive(_requests[next.Target]);
                    break;
                case IterationEnd:
                    _machines[next.Target].CompleteIteration(next.Stamp);
                    break;
                case TransferStart:
                    StartTransfer(_requests[next.Target]);
                    break;
                default:
                    EndTransfer(_requests[next.Target]);
                    break;
            }
        }

        return _outcomes;
    }

    public void ScheduleIterationEnd(double time, int machine, int generation) => _calendar.Schedule(time, IterationEnd, machine, generation);

    public void TaskCompleted(SplitwiseTask task)
    {
        SplitwiseRequest r = task.Request;
        if (task.IsPrompt)
        {
            if (r.PromptMachine != r.TokenMachine)
            {
                StartTransfer(r);
            }

            return;
        }

        double ttft = r.Prompt.EndSeconds - r.ArrivalSeconds, endToEnd = Now - r.ArrivalSeconds;
        _outcomes.Add(new SplitwiseOutcome(
            r.Id, endToEnd, r.Prompt.StartSeconds - r.ArrivalSeconds, ttft, (endToEnd - ttft) / r.OutputTokens, r.Token.StartSeconds - r.Prompt.EndSeconds,
            r.PromptMachine.Name, r.TokenMachine.Name, r.Prompt.StartSeconds, r.Prompt.EndSeconds, r.Token.StartSeconds, r.Token.EndSeconds));
    }

    private void Arrive(SplitwiseRequest request)
    {
        Scheduler.Assign(request);
        request.PromptMachine.Receive(request.Prompt);
        if (request.PromptMachine == request.TokenMachine)
        {
            // Queued behind its prompt at once; one request's tasks never run together.
            request.TokenMachine.Receive(request.Token);
        }
    }

    private void StartTransfer(SplitwiseRequest request)
    {
        SplitwiseMachine target = request.TokenMachine;
        if (target.MemoryBytes + request.MemoryBytes > target.CapacityBytes)
        {
            _calendar.Schedule(Now + _settings.TransferRetrySeconds, TransferStart, request.Id);
            return;
        }

        target.Allocate(request.MemoryBytes);
        double seconds = request.Prompt.Size * _settings.KvBytesPerToken / _settings.TransferBytesPerSecond;
        _calendar.Schedule(Now + seconds, TransferEnd, request.Id);
    }

    private static void EndTransfer(SplitwiseRequest request)
    {
        request.PromptMachine.Free(request.MemoryBytes);
        request.TokenMachine.Receive(request.Token);
        request.PromptMachine.NotifyTransferDone();
    }
}
