using E2LLM.Simulation.Models;

namespace E2LLM.Simulation.Engine;

// KV caches on their way from the replica that prefilled to the one that decodes.
internal sealed partial class ServingSimulation
{
    private readonly Dictionary<int, KvRoute[]> _routes = [];
    private bool _waitsForTarget;

    /// <summary>Whether every piece of a KV cache has a way from one replica to the other.</summary>
    private bool CanMove(int from, int to)
    {
        if (from == to)
        {
            return true;
        }

        foreach (KvRoute route in Routes(from, to))
        {
            if (!_network.IsConnected(route.FromDevice, route.ToDevice))
            {
                return false;
            }
        }

        return true;
    }

    private KvRoute[] Routes(int from, int to)
    {
        int key = (from << 16) | to;
        if (_routes.TryGetValue(key, out KvRoute[]? known))
        {
            return known;
        }

        var routes = new List<KvRoute>();
        StageModel[] sources = _replicas[from].Model.Stages;
        for (int i = 0; i < sources.Length; i++)
        {
            foreach (StageModel target in _replicas[to].Model.Stages)
            {
                LayerRange common = sources[i].Layers.Intersect(target.Layers);
                if (common.Count > 0)
                {
                    routes.Add(new KvRoute(i, sources[i].Device, target.Device, common));
                }
            }
        }

        return _routes[key] = [.. routes];
    }

    private int TargetPositions(RequestState request) => KvMemory.RoundUp(
        _options.KvAdmission == KvAdmission.Reserve ? Math.Max(1, request.PromptTokens) + request.OutputTokens : request.PrefillTokens + 1);

    private bool TryReserveTarget(RequestState request)
    {
        int positions = TargetPositions(request);
        ReplicaState target = _replicas[request.DecodeReplica];
        if (!target.IsUp || !target.Memory.TryResize(0, positions))
        {
            return false;
        }

        request.TargetPositions = positions;
        return true;
    }

    private static void WaitForMemory(RequestState request, ReplicaState target)
    {
        request.Phase = RequestPhase.WaitingForMemory;
        target.WaitingForMemory.AddLast(request.Node);
    }

    // First come, first served: a long sequence at the head is not passed by shorter ones.
    private void AdmitWaiting(ReplicaState target)
    {
        while (target.IsUp && target.WaitingForMemory.First is { } first)
        {
            RequestState request = first.Value;
            if (request.SourcePositions > 0 && request.PrefillReplica == target.Index)
            {
                int wanted = Math.Max(request.SourcePositions, TargetPositions(request));
                if (!target.Memory.TryResize(request.SourcePositions, wanted))
                {
                    return;
                }

                (request.TargetPositions, request.SourcePositions) = (wanted, 0);
                target.WaitingForMemory.RemoveFirst();
                KvIsHere(request, target);
            }
            else if (TryReserveTarget(request))
            {
                target.WaitingForMemory.RemoveFirst();
                PushRest(request);
            }
            else
            {
                return;
            }
        }
    }

    // Overlap: the keys and values of a layer leave while the next layer is computed. The transfer of a stage begins when its first
    // layer is done and cannot end before its last.
    private void PushBehind(ReplicaState source, PromptSegment segment)
    {
        RequestState request = segment.Request;
        if (_options.KvPush != KvPush.Overlapped || request.TargetPositions == 0 || request.DecodeReplica == source.Index)
        {
            return;
        }

        foreach (KvRoute route in Routes(source.Index, request.DecodeReplica))
        {
            double bytes = _geometry.Bytes(route.Layers, segment.From, segment.From + segment.Tokens, request.PrefillTokens);
            if (bytes > 0)
            {
                double start = source.StageStart[route.FromStage], end = source.StageEnd[route.FromStage];
                int flow = _network.Create(route.FromDevice, route.ToDevice, bytes, request.Slot, request.Epoch, end);
                request.PendingFlows++;
                _calendar.Schedule(start + ((end - start) / source.Model.Stages[route.FromStage].Layers.Count), FlowStart, flow);
            }
        }

        request.PushedTokens += segment.Tokens;
    }

    private void PushRest(RequestState request)
    {
        request.Phase = RequestPhase.Transferring;
        if (request.PushedTokens < request.PrefillTokens)
        {
            foreach (KvRoute route in Routes(request.PrefillReplica, request.DecodeReplica))
            {
                double bytes = _geometry.Bytes(route.Layers, request.PushedTokens, request.PrefillTokens, request.PrefillTokens);
                if (bytes > 0)
                {
                    request.PendingFlows++;
                    StartFlow(_network.Create(route.FromDevice, route.ToDevice, bytes, request.Slot, request.Epoch, Now));
                }
            }

            request.PushedTokens = request.PrefillTokens;
        }

        if (request.PendingFlows == 0)
        {
            TransferDone(request);
        }
    }

    private void StartFlow(int index)
    {
        Flow flow = _network[index];
        if (_slots[flow.Request].Epoch != flow.Epoch)
        {
            _network.Recycle(index);
        }
        else if (flow.From == flow.To)
        {
            _calendar.Schedule(Math.Max(Now, flow.NotBeforeSeconds), FlowDelivered, index);
        }
        else
        {
            _network.Start(index, Now);
            ScheduleNetworkStep();
        }
    }

    private void ScheduleNetworkStep()
    {
        double next = _network.NextCompletion(Now);
        if (double.IsFinite(next))
        {
            _calendar.Schedule(next, NetworkStep, 0, ++_networkStamp);
        }
    }

    private void StepNetwork(int stamp)
    {
        if (stamp != _networkStamp)
        {
            return;
        }

        _network.TakeCompleted(Now, _flowsDone);
        foreach (int index in _flowsDone)
        {
            Flow flow = _network[index];
            double delivered = Math.Max(Now, flow.NotBeforeSeconds) + _network.DelaySeconds(flow.From, flow.To);
            _calendar.Schedule(delivered, FlowDelivered, index);
        }

        ScheduleNetworkStep();
    }

    private void DeliverFlow(int index)
    {
        Flow flow = _network[index];
        _network.Recycle(index);
        RequestState request = _slots[flow.Request];
        if (request.Epoch != flow.Epoch)
        {
            return;
        }

        if (_sink.WantsTimeline)
        {
            _sink.Transfer(flow.From, flow.To, flow.StartSeconds, Now, request.Id);
        }

        request.PendingFlows--;
        if (request.PendingFlows == 0 && request.PrefillDone && request.PushedTokens == request.PrefillTokens)
        {
            TransferDone(request);
        }
    }

    private void TransferDone(RequestState request)
    {
        ReplicaState source = _replicas[request.PrefillReplica];
        source.Memory.TryResize(request.SourcePositions, 0);
        request.SourcePositions = 0;
        KvIsHere(request, _replicas[request.DecodeReplica]);
        MemoryReleased(source);
    }

    private void MemoryReleased(ReplicaState replica)
    {
        AdmitWaiting(replica);
        Kick(replica);
        if (_waitsForTarget)
        {
            _waitsForTarget = false;
            foreach (ReplicaState other in _replicas)
            {
                if (other != replica)
                {
                    Kick(other);
                }
            }
        }
    }
}
