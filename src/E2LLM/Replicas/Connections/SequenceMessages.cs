using E2LLM.KvCaching;
using E2LLM.Sampling;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>A decode stage that gets some layers of a sequence's keys and values.</summary>
internal readonly record struct KvTarget(string Peer, ulong Session, ulong Sequence, StageRole Role);

/// <summary>Starts a sequence on every stage of a replica; travels down the chain before the sequence's first step.</summary>
internal sealed record SequenceOpenMessage
{
    private const int MaxPosition = 1 << 28, MaxTargets = 1024;

    public required ulong Sequence { get; init; }

    /// <summary>Positions to reserve, prompt and output together.</summary>
    public required int CapacityTokenCount { get; init; }

    /// <summary>Positions of the prompt that move between replicas: imported or exported; 0 where nothing moves.</summary>
    public required int PromptTokenCount { get; init; }

    /// <summary>Whether the prompt's keys and values come from elsewhere.</summary>
    public required bool Imports { get; init; }

    /// <summary>Hash of the prompt's token ids (<see cref="KvTransferHeader.TokenPrefixHash"/>).</summary>
    public required byte[] TokenHash { get; init; }

    public required SamplingOptions Sampling { get; init; }

    /// <summary>Stages that get the prompt's keys and values as they are computed.</summary>
    public IReadOnlyList<KvTarget> Targets { get; init; } = [];

    /// <summary>Keys of the prompt's whole pages: those that a stage kept need not be computed again. The frame's payload.</summary>
    public IReadOnlyList<PageKey> Pages { get; init; } = [];

    public void Write(HeaderWriter writer)
    {
        writer.UInt64(Sequence).Int32(CapacityTokenCount).Int32(PromptTokenCount).Byte((byte)(Imports ? 1 : 0)).Bytes(TokenHash)
            .Single(Sampling.Temperature).Int32(Sampling.TopK).Single(Sampling.TopP).Single(Sampling.MinP).UInt64(Sampling.Seed)
            .UInt16(Targets.Count);
        foreach (KvTarget target in Targets)
        {
            writer.String(target.Peer).UInt64(target.Session).UInt64(target.Sequence)
                .Int32(target.Role.Layers.Start).Int32(target.Role.Layers.End).Byte((byte)((target.Role.HasEmbedding ? 1 : 0) | (target.Role.HasHead ? 2 : 0)));
        }
    }

    public static SequenceOpenMessage Read(in Frame frame)
    {
        var reader = new HeaderReader(KvMessages.Contiguous(frame.Header), frame.HeaderOffset);
        ulong sequence = reader.UInt64("sequenceId");
        int capacity = reader.Int32("capacityTokenCount", 1, MaxPosition);
        int prompt = reader.Int32("promptTokenCount", 0, capacity);
        bool imports = reader.Boolean("imports");
        byte[] hash = reader.Hash("tokenPrefixHash");
        long at = reader.Offset;
        var sampling = new SamplingOptions
        {
            Temperature = reader.Single("temperature"),
            TopK = reader.Int32("topK"),
            TopP = reader.Single("topP"),
            MinP = reader.Single("minP"),
            Seed = reader.UInt64("seed"),
        };
        try
        {
            sampling.Validate();
        }
        catch (ArgumentException error)
        {
            throw new KvTransferException("sampling", at, error.Message);
        }

        at = reader.Offset;
        int count = reader.UInt16("targetCount");
        if (count > MaxTargets || (imports && prompt == 0))
        {
            throw new KvTransferException("targetCount", at, $"{count} targets (at most {MaxTargets}), {prompt} prompt positions, imports: {imports}.");
        }

        var targets = new List<KvTarget>();
        for (int i = 0; i < count; i++)
        {
            targets.Add(new KvTarget(reader.String("peer"), reader.UInt64("session"), reader.UInt64("sequenceId"), StageRole.Read(ref reader)));
        }

        reader.End(frame.Minor);
        return new SequenceOpenMessage
        {
            Pages = PageKeys.Read(frame, capacity),
            Sequence = sequence, CapacityTokenCount = capacity, PromptTokenCount = prompt, Imports = imports, TokenHash = hash, Sampling = sampling, Targets = targets,
        };
    }
}

/// <summary>The next positions of one sequence in a step.</summary>
/// <param name="Sequence">The sequence.</param>
/// <param name="FirstPosition">Position of the first token; the stage checks it against what it holds.</param>
/// <param name="TokenCount">Tokens.</param>
/// <param name="Samples">Whether the last stage samples the token after the last one.</param>
internal readonly record struct StepItem(ulong Sequence, int FirstPosition, int TokenCount, bool Samples);

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
            writer.UInt64(item.Sequence).Int32(item.FirstPosition).Int32(item.TokenCount).Byte((byte)(item.Samples ? 1 : 0));
        }
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
            items.Add(new StepItem(reader.UInt64("sequenceId"), reader.Int32("firstPosition", 0, 1 << 28), reader.Int32("tokenCount", 1, MaxTokens), reader.Boolean("samples")));
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
/// <param name="Token">Its id.</param>
internal readonly record struct SampledToken(ulong Sequence, int Position, int Token);

/// <summary>End of a step, from the last stage to the driver.</summary>
internal sealed record TokensMessage(ulong Step, IReadOnlyList<SampledToken> Tokens)
{
    public void Write(HeaderWriter writer)
    {
        writer.UInt64(Step).UInt16(Tokens.Count);
        foreach (SampledToken token in Tokens)
        {
            writer.UInt64(token.Sequence).Int32(token.Position).Int32(token.Token);
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
            tokens.Add(new SampledToken(reader.UInt64("sequenceId"), reader.Int32("position"), reader.Int32("token", 0, vocabularySize - 1)));
        }

        reader.End(frame.Minor);
        KvMessages.NoPayload(frame);
        return new TokensMessage(step, tokens);
    }
}
