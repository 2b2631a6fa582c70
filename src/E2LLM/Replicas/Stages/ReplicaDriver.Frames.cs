using E2LLM.Replicas.Connections;
using E2LLM.Sampling;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Stages;

/// <summary>What the stages report, and what that changes.</summary>
internal sealed partial class ReplicaDriver
{
    /// <summary>Takes a frame of a stage.</summary>
    public void OnFrame(int stage, in Frame frame)
    {
        switch (frame.Kind)
        {
            case FrameKind.Tokens:
                OnTokens(TokensMessage.Read(frame, vocabularySize));
                break;
            case FrameKind.Attached:
                lock (_gate)
                {
                    ReplicaSequence.Complete(--_awaitedAttachCount, _attached);
                }

                break;
            case FrameKind.SequenceOpened or FrameKind.KvApplied or FrameKind.KvSent or FrameKind.SequenceClose:
                OnSequence(stage, frame.Kind, SequenceMessage.Read(frame));
                break;
            case FrameKind.Fault:
                OnFault(stage, FaultMessage.Read(frame));
                break;
            default:
                throw new KvTransferException("kind", frame.Offset + 6, $"A stage does not send frames of kind {frame.Kind} to its driver.");
        }
    }

    private void OnSequence(int stage, FrameKind kind, SequenceMessage message)
    {
        lock (_gate)
        {
            if (!_sequences.TryGetValue(message.Sequence, out ReplicaSequence? sequence))
            {
                return;
            }

            switch (kind)
            {
                case FrameKind.SequenceOpened:
                    sequence.OpenedAt(stage, message.Count);
                    break;
                case FrameKind.KvApplied:
                    int expected = sequence.Open.PromptTokenCount - sequence.HeldCounts[stage];
                    if (message.Count != (ulong)expected)
                    {
                        sequence.Fail(new SequenceFailedException(plan.Name, stage, isRetryable: true, $"{message.Count} positions were applied; expected {expected}."));
                        break;
                    }

                    sequence.FirstLayerSeconds = stage == 0 ? message.Measure / 1e9 : sequence.FirstLayerSeconds;
                    ReplicaSequence.Complete(--sequence.AwaitedApplyCount, sequence.Applied);
                    break;
                case FrameKind.KvSent:
                    sequence.SentBytes += (long)message.Count;
                    (sequence.FirstStageSentBytes, sequence.FirstStageBytesPerSecond) = stage == 0 ? (message.Count, message.Measure) : (sequence.FirstStageSentBytes, sequence.FirstStageBytesPerSecond);
                    ReplicaSequence.Complete(--sequence.AwaitedSentCount, sequence.Sent);
                    break;
                default:
                    if (--sequence.AwaitedCloseCount == 0)
                    {
                        _sequences.Remove(sequence.Id);
                        _byScheduled.Remove(sequence.Scheduled);
                        Admission.Release(sequence.Blocks);
                    }

                    break;
            }
        }
    }

    private void OnFault(int stage, FaultMessage fault)
    {
        if (fault.Sequence == 0)
        {
            int index = plan.Stages.ToList().FindIndex(candidate => candidate.Device == fault.Peer);
            Fail(new PeerLostException(fault.Peer, index, fault.Code == FaultCode.PeerLost ? PeerLossReason.Closed : PeerLossReason.Failed, fault.Text));
            return;
        }

        lock (_gate)
        {
            if (_sequences.TryGetValue(fault.Sequence, out ReplicaSequence? sequence))
            {
                _scheduler.Remove(sequence.Scheduled);
                sequence.IsSound = fault.Code != FaultCode.Numerics;
                sequence.Fail(fault.Code == FaultCode.PeerLost
                    ? new PeerLostException(fault.Peer, -1, PeerLossReason.Closed, fault.Text)
                    : new SequenceFailedException(fault.Peer, stage, fault.Code != FaultCode.Numerics, fault.Text));
                Pump();
            }
        }

        _firstStage?.SendHere();
    }

    private void OnTokens(TokensMessage message)
    {
        var sampled = new List<(ReplicaSequence Sequence, TokenChoice Token, bool IsLast)>(message.Tokens.Count);
        lock (_gate)
        {
            if (!_steps.Remove(message.Step))
            {
                throw new KvTransferException("step", 0, $"Step {message.Step} is not under way.");
            }

            _scheduler.StepDone();
            foreach (SampledToken token in message.Tokens)
            {
                if (!_sequences.TryGetValue(token.Sequence, out ReplicaSequence? sequence) || sequence.RemainingTokenCount == 0)
                {
                    continue;
                }

                if (token.Position != sequence.Scheduled.Tokens.Count)
                {
                    throw new KvTransferException("position", 0, $"A token for position {token.Position} came; {sequence.Scheduled.Tokens.Count} are known.");
                }

                sequence.Take(token.Token);
                sampled.Add((sequence, token.Token, sequence.RemainingTokenCount == 0));
                if (sequence.RemainingTokenCount == 0)
                {
                    _scheduler.Remove(sequence.Scheduled);
                }
                else
                {
                    _scheduler.Ready(sequence.Scheduled);
                }
            }

            Pump();
        }

        // The next step first: a stage may be waiting for it, and consumers wake threads.
        _firstStage!.SendHere();
        foreach ((ReplicaSequence sequence, TokenChoice token, bool isLast) in sampled)
        {
            sequence.Publish(token, isLast);
        }
    }
}
