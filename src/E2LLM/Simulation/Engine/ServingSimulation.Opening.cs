namespace E2LLM.Simulation.Engine;

// As this library's own runtime does it (RouterKind.Dispatcher): a request waits for a slot of the replica that will generate; then it is opened on that one, then on the one that reads its
// prompt. The message goes from stage to stage ahead of the passes that wait there, but behind the one that runs when it comes: an event for each stage, since passes go on meanwhile. When both
// replicas have it, the prompt is queued.
internal sealed partial class ServingSimulation
{
    private void Admit(RequestState request)
    {
        if (_options.Router != RouterKind.Dispatcher)
        {
            EnqueuePrefill(request);
            return;
        }

        request.Phase = RequestPhase.Opening;
        CountPrompt(request);
        if (request.OutputTokens - request.GeneratedTokens > 1)
        {
            int choice = _router.ChooseDecode(request, withMemoryNow: false);
            SetDecodeReplica(request, choice < 0 ? request.PrefillReplica : choice);
            ReplicaState decode = _replicas[request.DecodeReplica];
            if (decode.PendingDecodes > decode.Model.DecodeSlots || decode.WaitingForSlot.Count > 0)
            {
                decode.WaitingForSlot.Enqueue((request, request.Epoch));
                return;
            }
        }

        Open(request);
    }

    private void Open(RequestState request)
    {
        request.OpeningReplica = request.DecodeReplica >= 0 ? request.DecodeReplica : request.PrefillReplica;
        request.OpeningStage = 0;
        MoveOpening(request, request.Epoch);
    }

    // The message has come to a stage, or the last stage of the last replica has it.
    private void MoveOpening(RequestState request, int epoch)
    {
        if (request.Epoch != epoch)
        {
            return;
        }

        ReplicaState replica = _replicas[request.OpeningReplica];
        if (request.OpeningStage == replica.Model.Stages.Length)
        {
            JoinPrefillQueue(request);
            return;
        }

        double at = replica.MessageTaken(request.OpeningStage, Now);
        request.OpeningStage++;
        if (request.OpeningStage < replica.Model.Stages.Length)
        {
            at += replica.Network.DelaySeconds(replica.Model.Stages[request.OpeningStage - 1].Device, replica.Model.Stages[request.OpeningStage].Device);
        }
        else if (request.OpeningReplica != request.PrefillReplica)
        {
            (request.OpeningReplica, request.OpeningStage) = (request.PrefillReplica, 0);
        }

        _calendar.Schedule(at, OpeningMoves, request.Slot, request.Epoch);
    }

    // A sequence has left its slot to the first that waits for one.
    private void SlotReleased(ReplicaState decode)
    {
        while (decode.WaitingForSlot.Count > 0 && decode.PendingDecodes - decode.WaitingForSlot.Count < decode.Model.DecodeSlots)
        {
            (RequestState request, int epoch) = decode.WaitingForSlot.Dequeue();
            if (request.Epoch == epoch)
            {
                Open(request);
            }
        }
    }
}
