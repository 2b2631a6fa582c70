using System.Buffers;
using System.Runtime.InteropServices;
using E2LLM.Sampling;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>The next positions of one sequence in a step.</summary>
/// <param name="Sequence">The sequence.</param>
/// <param name="FirstPosition">Position of the first token; the stage checks it against what it holds.</param>
/// <param name="TokenCount">Tokens.</param>
/// <param name="Samples">Whether the last stage samples the token after the last one.</param>
/// <param name="LastToken">Id of the last token: a last stage gets hidden states, and penalties look at tokens.</param>
internal readonly record struct StepItem(ulong Sequence, int FirstPosition, int TokenCount, bool Samples, int LastToken);

/// <summary>Header of a step: for the first stage its payload is token ids, for the others hidden states.</summary>
internal sealed record StepMessage(ulong Step, IReadOnlyList<StepItem> Items)
{
    private const int MaxTokens = 1 << 20;

    public int TokenCount { get; } = Items.Sum(item => item.TokenCount);

    public void Write(HeaderWriter writer)
    {
        writer.UInt64(Step).UInt16(Items.Count);
        foreach (StepItem item in Items)
        {
            writer.UInt64(item.Sequence).Int32(item.FirstPosition).Int32(item.TokenCount).Byte((byte)(item.Samples ? 1 : 0)).Int32(item.LastToken);
        }
    }

    /// <summary>The frame for the next stage, with a copy of the hidden states after ours.</summary>
    public OutgoingFrame ToFrame(ReadOnlySpan<float> hidden)
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(hidden);
        byte[] copy = ArrayPool<byte>.Shared.Rent(bytes.Length);
        bytes.CopyTo(copy);
        var header = new HeaderWriter();
        Write(header);
        return OutgoingFrame.WithRented(FrameKind.Hidden, header.ToArray(), copy, bytes.Length);
    }

    /// <summary>Reads a step and checks that its payload has <paramref name="bytesPerToken"/> for each token.</summary>
    public static StepMessage Read(in Frame frame, int bytesPerToken, int maxTokens)
    {
        var reader = new HeaderReader(KvMessages.Contiguous(frame.Header), frame.HeaderOffset);
        ulong step = reader.UInt64("step");
        int count = reader.UInt16("itemCount");
        var items = new List<StepItem>();
        long tokens = 0;
        for (int i = 0; i < count; i++)
        {
            items.Add(new StepItem(reader.UInt64("sequenceId"), reader.Int32("firstPosition", 0, 1 << 28), reader.Int32("tokenCount", 1, MaxTokens), reader.Boolean("samples"), reader.Int32("lastToken")));
            tokens += items[^1].TokenCount;
        }

        reader.End(frame.Minor);
        if (count == 0 || tokens > maxTokens || frame.Payload.Length != tokens * bytesPerToken)
        {
            throw new KvTransferException("payloadBytes", frame.Offset + 12,
                $"A step of {count} items and {tokens} tokens (at most {maxTokens}) needs {tokens} x {bytesPerToken} bytes; got {frame.Payload.Length}.");
        }

        return new StepMessage(step, items);
    }
}

/// <summary>A token that the last stage sampled.</summary>
/// <param name="Sequence">The sequence.</param>
/// <param name="Position">Position of the token in it.</param>
/// <param name="Token">Its id, with log-probabilities where they were asked for.</param>
internal readonly record struct SampledToken(ulong Sequence, int Position, TokenChoice Token);

/// <summary>End of a step, from the last stage to the driver.</summary>
internal sealed record TokensMessage(ulong Step, IReadOnlyList<SampledToken> Tokens)
{
    public void Write(HeaderWriter writer)
    {
        writer.UInt64(Step).UInt16(Tokens.Count);
        foreach (SampledToken token in Tokens)
        {
            writer.UInt64(token.Sequence).Int32(token.Position);
            SamplingFields.Write(writer, token.Token);
        }
    }

    public static TokensMessage Read(in Frame frame, int vocabularySize)
    {
        var reader = new HeaderReader(KvMessages.Contiguous(frame.Header), frame.HeaderOffset);
        ulong step = reader.UInt64("step");
        int count = reader.UInt16("tokenCount");
        var tokens = new List<SampledToken>();
        for (int i = 0; i < count; i++)
        {
            tokens.Add(new SampledToken(reader.UInt64("sequenceId"), reader.Int32("position"), SamplingFields.ReadChoice(ref reader, vocabularySize)));
        }

        reader.End(frame.Minor);
        KvMessages.NoPayload(frame);
        return new TokensMessage(step, tokens);
    }
}
