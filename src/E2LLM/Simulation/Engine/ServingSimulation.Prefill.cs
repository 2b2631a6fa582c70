namespace E2LLM.Simulation.Engine;

// Prompts: queueing, batching into passes, and what follows the last pass of a prompt.
internal sealed partial class ServingSimulation
{
    private void EnqueuePrefill(RequestState request)
    {
        CountPrompt(request);
        JoinPrefillQueue(request);
    }

    private void CountPrompt(RequestState request)
    {
        ReplicaState replica = _replicas[request.PrefillReplica];
        replica.PendingPromptTokens += request.PrefillTokens;
        replica.UnfinishedPromptTokens += request.PrefillTokens;
        replica.PendingPrefills++;
    }

    private void JoinPrefillQueue(RequestState request)
    {
        ReplicaState replica = _replicas[request.PrefillReplica];
        request.Phase = RequestPhase.QueuedForPrefill;
        request.QueuedAt = Now;
        request.QueueKey = request.ArrivalSeconds + (_options.LengthWeight * request.PrefillTokens / replica.Model.PrefillTokensPerSecond);
        replica.PrefillQueue.Enqueue(request, (request.QueueKey, request.Id));
        Kick(replica);
    }

    /// <summary>Starts every idle lane that has something to do.</summary>
    private void Kick(ReplicaState replica)
    {
        for (int i = 0; i < replica.Lanes.Length && replica.IsUp; i++)
        {
            if (!replica.Lanes[i].InFlight && !TryStart(replica, i))
            {
                // What the first idle lane finds nothing for, the next one will not find either, unless it holds sequences.
                if (replica.DecodingCount == 0)
                {
                    return;
                }
            }
        }
    }

    private bool TryStart(ReplicaState replica, int laneIndex)
    {
        Lane lane = replica.Lanes[laneIndex];
        JoinReady(replica, lane);
        SelectSegments(replica, lane);
        int decoding = lane.Sequences.Count, ending = 0;
        if (decoding == 0 && lane.Segments.Count == 0)
        {
            return false;
        }

        foreach (PromptSegment segment in lane.Segments)
        {
            ending += segment.From + segment.Tokens == segment.Request.PrefillTokens ? 1 : 0;
        }

        bool pushesBehind = _options.Router == RouterKind.Dispatcher && _options.KvPush == KvPush.Overlapped;
        double end = replica.Pass(lane, Now, decoding, decoding + ending, pushesBehind);
        foreach (PromptSegment segment in lane.Segments)
        {
            PushBehind(replica, segment);
        }

        if (_sink.WantsTimeline)
        {
            for (int i = 0; i < replica.StageStart.Length; i++)
            {
                _sink.StagePass(replica.Index, i, replica.StageStart[i], replica.StageEnd[i], lane.SegmentTokens, decoding);
            }
        }

        lane.InFlight = true;
        _calendar.Schedule(end, LaneDone, (replica.Index << LaneBits) | laneIndex, ++lane.Generation);
        return true;
    }

    private void SelectSegments(ReplicaState replica, Lane lane)
    {
        bool whole = _options.Batching == PrefillBatching.WholePrompts;
        int budget = whole ? _options.MaxBatchTokens : replica.DecodingCount > 0 ? _options.MixedChunkTokens : _options.ChunkTokens;
        if (!whole)
        {
            // One token at least: prompts must not starve beside a full decode step.
            budget = Math.Min(budget, Math.Max(1, replica.Model.PassTokens - lane.Sequences.Count));
        }

        while (budget > 0 && replica.HasPromptWork)
        {
            RequestState request = replica.PartialPrompt ?? replica.PrefillQueue.Peek();
            int left = request.PrefillTokens - request.ScheduledTokens;
            if (whole && left > budget && lane.Segments.Count > 0)
            {
                return;
            }

            if (replica.PartialPrompt is null)
            {
                if (!TryBeginPrefill(request, replica))
                {
                    return;
                }

                replica.PrefillQueue.Dequeue();
            }

            int tokens = whole ? left : Math.Min(left, budget);
            lane.Segments.Add(new PromptSegment(request, request.ScheduledTokens, tokens));
            request.ScheduledTokens += tokens;
            replica.PartialPrompt = request.ScheduledTokens < request.PrefillTokens ? request : null;
            budget -= tokens;
        }
    }

    // Takes KV memory for the prompt. A replica that also decodes takes the memory of the other side at the same time or waits: two such
    // replicas that each held prompts for the other while being full would wait for ever.
    private bool TryBeginPrefill(RequestState request, ReplicaState source)
    {
        bool local = request.OutputTokens - request.GeneratedTokens <= 1;
        if (request.DecodeReplica < 0 && !local)
        {
            int choice = _options.KvPush == KvPush.Overlapped || source.AcceptsDecode ? _router.ChooseDecode(request, withMemoryNow: true) : -1;
            if (choice < 0 && source.AcceptsDecode)
            {
                choice = source.Index;
            }

            SetDecodeReplica(request, choice);
        }

        local |= request.DecodeReplica == source.Index;
        int positions = local && request.OutputTokens - request.GeneratedTokens > 1 ? TargetPositions(request) : KvMemory.RoundUp(request.PrefillTokens);
        if (!source.Memory.TryResize(0, positions))
        {
            return false;
        }

        request.SourcePositions = positions;
        if (!local && request.DecodeReplica >= 0 && !TryReserveTarget(request) && source.AcceptsDecode)
        {
            source.Memory.TryResize(positions, 0);
            request.SourcePositions = 0;
            _waitsForTarget = true;
            return false;
        }

        request.Phase = RequestPhase.Prefilling;
        if (double.IsNaN(request.PrefillStart))
        {
            request.PrefillStart = Now;
        }

        return true;
    }

    private void PromptDone(RequestState request, ReplicaState replica)
    {
        replica.PendingPrefills--;
        replica.UnfinishedPromptTokens -= request.PrefillTokens;
        request.PrefillDone = true;
        _router.PromptRead(replica, request, Now);
        if (request.OutputTokens > 0)
        {
            EmitToken(request);
        }
        else
        {
            request.FirstToken = Now;
        }

        if (request.GeneratedTokens >= request.OutputTokens)
        {
            Finish(request);
            return;
        }

        if (request.DecodeReplica < 0)
        {
            int choice = _router.ChooseDecode(request, withMemoryNow: false);
            SetDecodeReplica(request, choice < 0 ? replica.Index : choice);
        }

        ReplicaState target = _replicas[request.DecodeReplica];
        if (target == replica)
        {
            // The reservation stays where it is and now belongs to the decoding side.
            int wanted = Math.Max(request.SourcePositions, TargetPositions(request));
            if (replica.Memory.TryResize(request.SourcePositions, wanted))
            {
                (request.TargetPositions, request.SourcePositions) = (wanted, 0);
                KvIsHere(request, target);
                return;
            }

            WaitForMemory(request, target);
        }
        else if (request.TargetPositions > 0)
        {
            PushRest(request);
        }
        else
        {
            WaitForMemory(request, target);
            AdmitWaiting(target);
        }
    }

    private void SetDecodeReplica(RequestState request, int index)
    {
        request.DecodeReplica = index;
        if (index >= 0)
        {
            _replicas[index].PendingDecodes++;
            _replicas[index].PendingOutputTokens += request.OutputTokens - request.GeneratedTokens;
        }
    }
}
