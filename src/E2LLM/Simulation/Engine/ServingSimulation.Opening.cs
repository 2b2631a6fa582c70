namespace E2LLM.Simulation.Engine;

// As this library's own runtime does it (RouterKind.Dispatcher): before its prompt is queued a request is opened on the replica that will generate, then on the one that
// reads the prompt. The message goes from stage to stage and waits at each behind the passes that are there already.
internal sealed partial class ServingSimulation
{
    private void Admit(RequestState request)
    {
        if (_options.Router != RouterKind.Dispatcher)
        {
            EnqueuePrefill(request);
            return;
        }

        if (request.OutputTokens - request.GeneratedTokens > 1)
        {
            int choice = _router.ChooseDecode(request, withMemoryNow: false);
            SetDecodeReplica(request, choice < 0 ? request.PrefillReplica : choice);
        }

        request.Phase = RequestPhase.Opening;
        bool elsewhere = request.DecodeReplica >= 0 && request.DecodeReplica != request.PrefillReplica;
        _calendar.Schedule(elsewhere ? _replicas[request.DecodeReplica].MessageThrough(Now) : Now, OpenedForDecode, request.Slot, request.Epoch);
    }

    private void OpenPrefill(RequestState request, int epoch)
    {
        if (request.Epoch == epoch)
        {
            _calendar.Schedule(_replicas[request.PrefillReplica].MessageThrough(Now), OpenedForPrefill, request.Slot, epoch);
        }
    }

    private void Opened(RequestState request, int epoch)
    {
        if (request.Epoch == epoch)
        {
            EnqueuePrefill(request);
        }
    }
}
