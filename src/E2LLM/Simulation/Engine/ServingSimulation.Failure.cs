using E2LLM.Deployment;
using E2LLM.Simulation.Models;

namespace E2LLM.Simulation.Engine;

// Devices and links that go and come back, and plans that change under way.
internal sealed partial class ServingSimulation
{
    private readonly Replanning? _replanning;
    private readonly HashSet<string> _failedDevices = new(StringComparer.Ordinal);

    /// <summary>Plans made during the run.</summary>
    public int ReplanCount => _replanning?.Count ?? 0;

    private void ScheduleFailure(int index)
    {
        SimulatedFailure failure = _options.Failures[index];
        _calendar.Schedule(failure.DownSeconds, FailureDown, index);
        if (double.IsFinite(failure.UpSeconds))
        {
            _calendar.Schedule(Math.Max(failure.DownSeconds, failure.UpSeconds), FailureUp, index);
        }
    }

    private void TakeDown(SimulatedFailure failure)
    {
        SetNetwork(failure, down: true);
        foreach (ReplicaState replica in _replicas)
        {
            if (replica.IsUp && Needs(replica, failure))
            {
                replica.IsUp = false;
            }
        }

        // A KV cache on its way over what is gone starts again from its source, or, where that is gone, from the prompt.
        MoveOn(request => !IsOnItsWay(request) || CanMove(request.PrefillReplica, request.DecodeReplica));
        Replan();
    }

    private void BringUp(SimulatedFailure failure)
    {
        SetNetwork(failure, down: false);
        foreach (ReplicaState replica in _replicas)
        {
            if (!replica.IsUp && !replica.IsRetired && Needs(replica, failure) && !replica.Model.Stages.Any(s => _failedDevices.Contains(s.DeviceName)))
            {
                replica.IsUp = true;
            }
        }

        Replan();
        OfferParked();
    }

    private void SetNetwork(SimulatedFailure failure, bool down)
    {
        int device = DeviceIndex(failure.Device);
        if (failure.ToDevice is { } to)
        {
            if (device >= 0 && DeviceIndex(to) is var other and >= 0)
            {
                _network.SetLink(device, other, down);
            }

            return;
        }

        if (device >= 0)
        {
            _network.SetPort(device, down);
        }

        _ = down ? _failedDevices.Add(failure.Device) : _failedDevices.Remove(failure.Device);
    }

    private int DeviceIndex(string name)
    {
        foreach (ReplicaState replica in _replicas)
        {
            foreach (StageModel stage in replica.Model.Stages)
            {
                if (stage.DeviceName == name)
                {
                    return stage.Device;
                }
            }
        }

        return -1;
    }

    private static bool Needs(ReplicaState replica, SimulatedFailure failure)
    {
        StageModel[] stages = replica.Model.Stages;
        for (int i = 0; i < stages.Length; i++)
        {
            bool here = stages[i].DeviceName == failure.Device, there = stages[i].DeviceName == failure.ToDevice;
            if ((failure.ToDevice is null && here)
                || (i > 0 && ((here && stages[i - 1].DeviceName == failure.ToDevice) || (there && stages[i - 1].DeviceName == failure.Device))))
            {
                return true;
            }
        }

        return false;
    }

    private static bool IsOnItsWay(RequestState request) =>
        request.DecodeReplica >= 0 && request.Phase is RequestPhase.Prefilling or RequestPhase.WaitingForMemory or RequestPhase.Transferring;

    // Every request that a replica which is down, or a way that is gone, had a part in goes on from what is left of it.
    private void MoveOn(Func<RequestState, bool> keeps)
    {
        var restarted = new List<RequestState>();
        var waiting = new List<RequestState>();
        foreach (RequestState request in _slots.Where(r => r.IsActive && r.Phase != RequestPhase.Parked).OrderBy(r => r.Id).ToArray())
        {
            bool opening = request.Phase == RequestPhase.Opening;
            bool cacheAtSource = opening || request.Phase is RequestPhase.QueuedForPrefill or RequestPhase.Prefilling or RequestPhase.WaitingForMemory or RequestPhase.Transferring;
            bool sourceLost = cacheAtSource && request.PrefillReplica >= 0 && !_replicas[request.PrefillReplica].IsUp;
            bool targetLost = request.DecodeReplica >= 0 && !_replicas[request.DecodeReplica].IsUp;
            bool moves = sourceLost || targetLost || !keeps(request);
            if (moves && request.Phase == RequestPhase.WaitingForMemory)
            {
                _replicas[request.DecodeReplica].WaitingForMemory.Remove(request.Node);
            }

            if (sourceLost || (targetLost && (opening || !cacheAtSource)))
            {
                if (opening)
                {
                    // Counted, but in no queue of the replica yet.
                    _replicas[request.PrefillReplica].PendingPromptTokens -= request.PrefillTokens;
                    _replicas[request.PrefillReplica].UnfinishedPromptTokens -= request.PrefillTokens;
                    _replicas[request.PrefillReplica].PendingPrefills--;
                }

                ForgetTarget(request);
                _replicas[request.PrefillReplica].Memory.TryResize(request.SourcePositions, 0);
                request.SourcePositions = 0;
                restarted.Add(request);
            }
            else if (moves)
            {
                bool wasWaiting = request.Phase is RequestPhase.WaitingForMemory or RequestPhase.Transferring;
                ForgetTarget(request);
                request.PushedTokens = 0;
                if (wasWaiting)
                {
                    waiting.Add(request);
                }
            }
        }

        foreach (ReplicaState replica in _replicas.Where(r => !r.IsUp))
        {
            replica.Clear(Now);
        }

        foreach (RequestState request in waiting)
        {
            int choice = _router.ChooseDecode(request, withMemoryNow: false);
            SetDecodeReplica(request, choice < 0 ? request.PrefillReplica : choice);
            WaitForMemory(request, _replicas[request.DecodeReplica]);
            AdmitWaiting(_replicas[request.DecodeReplica]);
        }

        foreach (RequestState request in restarted)
        {
            RestartPrefill(request);
            Dispatch(request);
        }
    }

    private void ForgetTarget(RequestState request)
    {
        int slot = request.Slot, epoch = request.Epoch;
        _network.Cancel(Now, flow => flow.Request == slot && flow.Epoch == epoch);
        ScheduleNetworkStep();
        request.Epoch++;
        request.PendingFlows = 0;
        if (request.DecodeReplica >= 0)
        {
            ReplicaState decode = _replicas[request.DecodeReplica];
            decode.Memory.TryResize(request.TargetPositions, 0);
            decode.PendingDecodes--;
            decode.PendingOutputTokens -= request.OutputTokens - request.GeneratedTokens;
            request.TargetPositions = 0;
            request.DecodeReplica = -1;
            SlotReleased(decode);
        }
    }

    private void ObserveForReplanning(RequestState request)
    {
        if (_replanning is { } replanning && replanning.Observe(request) && Now - replanning.LastSeconds >= replanning.Options.MinimumIntervalSeconds)
        {
            // Between events: the request that completes is still being taken out of its lane.
            _calendar.Schedule(Now, ReplicaLoaded, -1);
        }
    }

    private void Replan()
    {
        if (_replanning is not { } replanning
            || replanning.Options.Planner(replanning.Context(Now, [.. _failedDevices.Order(StringComparer.Ordinal)])) is not { } plan)
        {
            return;
        }

        replanning.LastSeconds = Now;
        replanning.Count++;
        replanning.Plan = plan;
        var kept = new HashSet<ReplicaState>();
        var added = new List<ReplicaState>();
        foreach (ReplicaModel model in replanning.Build(plan))
        {
            ReplicaState? same = _replicas.Find(r => !r.IsRetired && !kept.Contains(r) && SameStages(r.Model, model));
            if (same is null)
            {
                same = new ReplicaState(_replicas.Count + added.Count, model, _options, _network) { IsUp = false };
                added.Add(same);
            }

            same.Model = model;
            kept.Add(same);
        }

        foreach (ReplicaState old in _replicas.Where(r => !kept.Contains(r)))
        {
            (old.IsUp, old.IsRetired) = (false, true);
        }

        foreach (ReplicaState replica in added)
        {
            _replicas.Add(replica);
            double seconds = replica.Model.Stages.Max(s => s.WeightBytes * NewShare(s) / replanning.Options.LoadBytesPerSecond);
            _calendar.Schedule(Now + seconds, ReplicaLoaded, replica.Index);
        }

        MoveOn(_ => true);
        OfferParked();
    }

    // The share of a stage's layers that its device did not hold before.
    private double NewShare(StageModel stage)
    {
        int held = _replicas.SelectMany(r => r.Model.Stages).Where(s => s != stage && s.Device == stage.Device)
            .Select(s => s.Layers.Intersect(stage.Layers).Count).DefaultIfEmpty(0).Max();
        return 1 - ((double)held / Math.Max(1, stage.Layers.Count));
    }

    private static bool SameStages(ReplicaModel left, ReplicaModel right) =>
        left.Stages.Length == right.Stages.Length
        && left.Stages.Zip(right.Stages).All(p => p.First.Device == p.Second.Device && p.First.Layers == p.Second.Layers);

    private void ReplicaIsLoaded(int index)
    {
        if (index < 0)
        {
            Replan();
            return;
        }

        ReplicaState replica = _replicas[index];
        if (!replica.IsRetired && !replica.Model.Stages.Any(s => _failedDevices.Contains(s.DeviceName)))
        {
            replica.IsUp = true;
            OfferParked();
        }
    }
}
