namespace E2LLM.Simulation.Engine;

// Continuous batching: sequences join a lane between two passes and leave it with their last token.
internal sealed partial class ServingSimulation
{
    private void KvIsHere(RequestState request, ReplicaState target)
    {
        if (double.IsNaN(request.KvReady))
        {
            request.KvReady = Now;
        }

        request.Phase = RequestPhase.Ready;
        target.Ready.AddLast(request.Node);
        Kick(target);
    }

    private void JoinReady(ReplicaState replica, Lane lane)
    {
        while (replica.Ready.First is { } first && replica.DecodingCount < replica.Model.DecodeSlots
            && lane.Sequences.Count * replica.Lanes.Length <= replica.DecodingCount)
        {
            // The test keeps lanes even: a lane takes one more only while it has no more than the average.
            RequestState request = first.Value;
            replica.Ready.RemoveFirst();
            request.Phase = RequestPhase.Decoding;
            if (double.IsNaN(request.DecodeStart))
            {
                request.DecodeStart = Now;
            }

            lane.Sequences.Add(request);
            lane.ContextSum += request.Context;
            replica.DecodingCount++;
        }
    }

    private void CompletePass(ReplicaState replica, int laneIndex, int generation)
    {
        Lane lane = replica.Lanes[laneIndex];
        if (lane.Generation != generation)
        {
            return;
        }

        EmitTokens(replica, lane);
        for (int i = 0; i < lane.Segments.Count; i++)
        {
            PromptSegment segment = lane.Segments[i];
            replica.PendingPromptTokens -= segment.Tokens;
            PrefilledTokens += segment.Tokens;
            if (segment.From + segment.Tokens == segment.Request.PrefillTokens)
            {
                PromptDone(segment.Request, replica);
            }
        }

        lane.Segments.Clear();
        lane.InFlight = false;
        SpreadSequences(replica, lane);
        Kick(replica);
        if (!replica.HasPromptWork)
        {
            ReplicaHasRoom(replica);
        }
    }

    private void EmitTokens(ReplicaState replica, Lane lane)
    {
        int kept = 0, count = lane.Sequences.Count;
        bool released = false;
        for (int i = 0; i < count; i++)
        {
            RequestState request = lane.Sequences[i];
            lane.ContextSum++;
            EmitToken(request);
            if (request.GeneratedTokens >= request.OutputTokens)
            {
                lane.ContextSum -= request.Context;
                replica.DecodingCount--;
                ReleaseAll(request);
                Complete(request);
                released = true;
            }
            else if (_options.KvAdmission == KvAdmission.Paged && !TryGrow(replica, request))
            {
                lane.ContextSum -= request.Context;
                replica.DecodingCount--;
                Evict(replica, request);
                released = true;
            }
            else
            {
                lane.Sequences[kept++] = request;
            }
        }

        lane.Sequences.RemoveRange(kept, count - kept);
        if (released)
        {
            // The lane is still marked as in flight here: only other lanes and other replicas start on what was set free.
            MemoryReleased(replica);
        }
    }

    private void EmitToken(RequestState request)
    {
        request.GeneratedTokens++;
        GeneratedTokens++;
        if (request.DecodeReplica >= 0)
        {
            _replicas[request.DecodeReplica].PendingOutputTokens--;
        }

        if (double.IsNaN(request.FirstToken))
        {
            request.FirstToken = Now;
        }
        else
        {
            request.LongestGap = Math.Max(request.LongestGap, Now - request.LastToken);
        }

        request.LastToken = Now;
    }

    // A lane that has run empty gets sequences from one that has more than its share.
    private static void SpreadSequences(ReplicaState replica, Lane lane)
    {
        foreach (Lane other in replica.Lanes)
        {
            if (other != lane && !other.InFlight && other.Sequences.Count == 0 && lane.Sequences.Count > 1
                && (lane.Sequences.Count - 1) * replica.Lanes.Length >= replica.DecodingCount)
            {
                RequestState moved = lane.Sequences[^1];
                lane.Sequences.RemoveAt(lane.Sequences.Count - 1);
                lane.ContextSum -= moved.Context;
                other.Sequences.Add(moved);
                other.ContextSum += moved.Context;
            }
        }
    }

    private static bool TryGrow(ReplicaState replica, RequestState request)
    {
        int wanted = KvMemory.RoundUp(request.Context + 1);
        if (wanted <= request.TargetPositions)
        {
            return true;
        }

        if (!replica.Memory.TryResize(request.TargetPositions, wanted))
        {
            return false;
        }

        request.TargetPositions = wanted;
        return true;
    }

    // No block is left for this sequence: swap it to host memory where there is room, or forget its cache and compute it anew here.
    private void Evict(ReplicaState replica, RequestState request)
    {
        replica.Memory.TryResize(request.TargetPositions, 0);
        request.TargetPositions = 0;
        if (replica.Memory.TrySwapOut(request.Context) is { } seconds)
        {
            request.Phase = RequestPhase.Swapped;

            // Out, and in again when its turn comes: both ways are charged before it may wait for memory.
            _calendar.Schedule(Now + (2 * seconds), SwapDone, request.Slot, request.Epoch);
            return;
        }

        RestartPrefill(request);
        request.PrefillReplica = replica.Index;
        EnqueuePrefill(request);
    }

    private void SwappedIn(RequestState request, int epoch)
    {
        if (request.Epoch != epoch)
        {
            return;
        }

        ReplicaState replica = _replicas[request.DecodeReplica];
        int wanted = KvMemory.RoundUp(request.Context + 1);
        if (!replica.Memory.TryResize(0, wanted))
        {
            // Tried again after a pass of this replica at the earliest; its sequences free memory only then.
            _calendar.Schedule(Now + (1 / replica.Model.DecodeTokensPerSecond), SwapDone, request.Slot, epoch);
            return;
        }

        request.TargetPositions = wanted;
        replica.Memory.SwapIn(request.Context);
        KvIsHere(request, replica);
    }

    private static void RestartPrefill(RequestState request)
    {
        request.PrefillTokens = Math.Max(1, request.Context);
        request.ScheduledTokens = request.PushedTokens = request.PendingFlows = 0;
        request.PrefillDone = false;
    }

    private void Finish(RequestState request)
    {
        ReplicaState prefill = _replicas[request.PrefillReplica];
        ReplicaState? decode = request.DecodeReplica >= 0 ? _replicas[request.DecodeReplica] : null;
        ReleaseAll(request);
        Complete(request);
        MemoryReleased(prefill);
        if (decode is not null && decode != prefill)
        {
            MemoryReleased(decode);
        }
    }

    private void ReleaseAll(RequestState request)
    {
        if (request.SourcePositions > 0)
        {
            _replicas[request.PrefillReplica].Memory.TryResize(request.SourcePositions, 0);
            request.SourcePositions = 0;
        }

        if (request.DecodeReplica >= 0)
        {
            ReplicaState decode = _replicas[request.DecodeReplica];
            decode.Memory.TryResize(request.TargetPositions, 0);
            request.TargetPositions = 0;
            decode.PendingDecodes--;
            decode.PendingOutputTokens -= request.OutputTokens - request.GeneratedTokens;
            SlotReleased(decode);
        }
    }

    private void ReplicaHasRoom(ReplicaState replica)
    {
        _router.ReplicaIdle(replica);
        if (_parked.Count > 0)
        {
            OfferParked();
        }
    }
}
