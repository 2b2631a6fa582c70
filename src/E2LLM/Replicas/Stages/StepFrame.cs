using System.Buffers;
using System.Buffers.Binary;
using E2LLM.Replicas.Connections;
using E2LLM.Scheduling;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Stages;

/// <summary>Turns what the scheduler chose into the frame that the first stage gets: positions in the header, token ids in the payload.</summary>
internal static class StepFrame
{
    public static OutgoingFrame Create(ulong step, List<ScheduledItem> chosen, Func<ScheduledItem, ulong> sequenceId)
    {
        var items = new List<StepItem>(chosen.Count);
        int tokens = chosen.Sum(item => item.TokenCount), at = 0;
        byte[] ids = ArrayPool<byte>.Shared.Rent(tokens * sizeof(int));
        foreach (ScheduledItem item in chosen)
        {
            items.Add(new StepItem(sequenceId(item), item.FirstPosition, item.TokenCount, item.Samples, item.Sequence.Tokens[item.FirstPosition + item.TokenCount - 1]));
            for (int i = 0; i < item.TokenCount; i++)
            {
                BinaryPrimitives.WriteInt32LittleEndian(ids.AsSpan(at), item.Sequence.Tokens[item.FirstPosition + i]);
                at += sizeof(int);
            }
        }

        var header = new HeaderWriter();
        new StepMessage(step, items).Write(header);
        return OutgoingFrame.WithRented(FrameKind.Step, header.ToArray(), ids, at);
    }
}
