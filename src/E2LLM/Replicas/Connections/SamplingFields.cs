using System.Buffers;
using System.Buffers.Binary;
using E2LLM.KvCaching;
using E2LLM.Sampling;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>How sampling crosses the wire: options to the last stage, choices back. Stateless; thread-safe.</summary>
internal static class SamplingFields
{
    private const int BiasBytes = 8;

    public static void Write(HeaderWriter writer, SamplingOptions options) => writer
        .Single(options.Temperature).Int32(options.TopK).Single(options.TopP).Single(options.MinP).UInt64(options.Seed)
        .Single(options.RepetitionPenalty).Single(options.FrequencyPenalty).Single(options.PresencePenalty).Int32(options.PenaltyWindow)
        .Byte((byte)(options.LogProbabilities ? 1 + options.TopLogProbabilityCount : 0)).UInt16(options.LogitBias.Count);

    /// <summary>Reads and checks everything but the bias, which comes in the payload.</summary>
    public static SamplingOptions Read(ref HeaderReader reader, out int biasCount)
    {
        long at = reader.Offset;
        var options = new SamplingOptions
        {
            Temperature = reader.Single("temperature"),
            TopK = reader.Int32("topK"),
            TopP = reader.Single("topP"),
            MinP = reader.Single("minP"),
            Seed = reader.UInt64("seed"),
            RepetitionPenalty = reader.Single("repetitionPenalty"),
            FrequencyPenalty = reader.Single("frequencyPenalty"),
            PresencePenalty = reader.Single("presencePenalty"),
            PenaltyWindow = reader.Int32("penaltyWindow", 1),
        };
        byte logProbabilities = reader.Byte("logProbabilities");
        options = options with { LogProbabilities = logProbabilities > 0, TopLogProbabilityCount = Math.Max(logProbabilities - 1, 0) };
        biasCount = reader.UInt16("biasCount");
        return Checked(options, at);
    }

    /// <summary>A frame whose payload is token ids, then pairs of token id and bias by id, then page keys, then more token ids.</summary>
    public static OutgoingFrame Frame(
        FrameKind kind, HeaderWriter header, IReadOnlyList<int> tokens, IReadOnlyDictionary<int, float> bias, IReadOnlyList<PageKey> pages, ReadOnlySpan<int> last)
    {
        int bytes = checked(((tokens.Count + last.Length) * sizeof(int)) + (bias.Count * BiasBytes) + (pages.Count * PageKey.ByteCount)), at = 0;
        if (bytes == 0)
        {
            return OutgoingFrame.WithoutPayload(kind, header.ToArray());
        }

        byte[] payload = ArrayPool<byte>.Shared.Rent(bytes);
        foreach (int token in tokens)
        {
            BinaryPrimitives.WriteInt32LittleEndian(payload.AsSpan(at), token);
            at += sizeof(int);
        }

        foreach ((int id, float value) in bias.OrderBy(pair => pair.Key))
        {
            BinaryPrimitives.WriteInt32LittleEndian(payload.AsSpan(at), id);
            BinaryPrimitives.WriteSingleLittleEndian(payload.AsSpan(at + sizeof(int)), value);
            at += BiasBytes;
        }

        foreach (PageKey page in pages)
        {
            page.Write(payload.AsSpan(at));
            at += PageKey.ByteCount;
        }

        foreach (int token in last)
        {
            BinaryPrimitives.WriteInt32LittleEndian(payload.AsSpan(at), token);
            at += sizeof(int);
        }

        return OutgoingFrame.WithRented(kind, header.ToArray(), payload, bytes);
    }

    /// <summary>Reads what <see cref="Frame"/> wrote before the page keys.</summary>
    /// <returns>Tokens, options with the bias, and how many bytes of the payload they took.</returns>
    public static (int[] Tokens, SamplingOptions Options, long Bytes) ReadPayload(in Frame frame, SamplingOptions options, int knownCount, int tokenCount, int biasCount)
    {
        long at = frame.HeaderOffset + frame.Header.Length, expected = ((long)tokenCount * sizeof(int)) + ((long)biasCount * BiasBytes);
        int needed = options.HasPenalties ? Math.Min(options.PenaltyWindow, knownCount) : 0;
        if (frame.Payload.Length < expected || tokenCount != needed)
        {
            throw new KvTransferException("payloadBytes", frame.Offset + 12, $"{tokenCount} recent tokens (the penalties look at {needed}) and {biasCount} biases take {expected} bytes; got {frame.Payload.Length}.");
        }

        ReadOnlySpan<byte> payload = KvMessages.Contiguous(frame.Payload.Slice(0, expected));
        int[] tokens = new int[tokenCount];
        for (int i = 0; i < tokens.Length; i++)
        {
            tokens[i] = BinaryPrimitives.ReadInt32LittleEndian(payload[(i * sizeof(int))..]);
        }

        if (biasCount == 0)
        {
            return (tokens, options, expected);
        }

        var bias = new Dictionary<int, float>(biasCount);
        for (ReadOnlySpan<byte> rest = payload[(tokenCount * sizeof(int))..]; !rest.IsEmpty; rest = rest[BiasBytes..])
        {
            if (!bias.TryAdd(BinaryPrimitives.ReadInt32LittleEndian(rest), BinaryPrimitives.ReadSingleLittleEndian(rest[sizeof(int)..])))
            {
                throw new KvTransferException("bias", at, "A token has two biases.");
            }
        }

        return (tokens, Checked(options with { LogitBias = bias }, at), expected);
    }

    public static void Write(HeaderWriter writer, in TokenChoice choice)
    {
        writer.Int32(choice.Id).Byte((byte)(choice.LogProbability is null ? 0 : 1 + choice.Top.Count));
        if (choice.LogProbability is { } own)
        {
            writer.Single(own);
            foreach (TokenLogProbability top in choice.Top)
            {
                writer.Int32(top.Id).Single(top.LogProbability);
            }
        }
    }

    public static TokenChoice ReadChoice(ref HeaderReader reader, int vocabularySize)
    {
        int id = reader.Int32("token", 0, vocabularySize - 1), count = reader.Byte("logProbabilities");
        if (count == 0)
        {
            return new TokenChoice(id);
        }

        float own = LogProbability(ref reader);
        var top = new TokenLogProbability[count - 1];
        for (int i = 0; i < top.Length; i++)
        {
            top[i] = new TokenLogProbability(reader.Int32("topToken", 0, vocabularySize - 1), LogProbability(ref reader));
        }

        return new TokenChoice(id, own) { Top = top };
    }

    private static float LogProbability(ref HeaderReader reader)
    {
        long at = reader.Offset;
        float value = BitConverter.UInt32BitsToSingle(reader.UInt32("logProbability"));

        // Minus infinity is an excluded token; above zero only by rounding.
        return value < 1e-3f ? value : throw new KvTransferException("logProbability", at, $"{value} is no logarithm of a probability.");
    }

    private static SamplingOptions Checked(SamplingOptions options, long at)
    {
        try
        {
            options.Validate();
            return options;
        }
        catch (ArgumentException error)
        {
            throw new KvTransferException("sampling", at, error.Message);
        }
    }
}
