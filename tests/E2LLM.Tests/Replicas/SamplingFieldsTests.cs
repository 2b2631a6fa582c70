using System.Buffers;
using E2LLM.Replicas.Connections;
using E2LLM.Sampling;
using E2LLM.Transfer;

namespace E2LLM.Tests.Replicas;

/// <summary>The frames that carry sampling: what is written is read, what is damaged is refused by field.</summary>
public sealed class SamplingFieldsTests
{
    private static readonly SamplingOptions Full = new()
    {
        Temperature = 0.9f, TopK = 40, TopP = 0.5f, MinP = 0.25f, Seed = ulong.MaxValue, RepetitionPenalty = 1.5f, FrequencyPenalty = -0.5f, PresencePenalty = 2f,
        PenaltyWindow = 3, LogProbabilities = true, TopLogProbabilityCount = 5, LogitBias = new Dictionary<int, float> { [7] = -1f, [3] = float.NegativeInfinity },
    };

    [Fact]
    public void SequenceOpen_EveryField_ComesBack()
    {
        foreach (SamplingOptions sampling in new[] { new SamplingOptions(), Full, Full with { LogitBias = new Dictionary<int, float>() }, Full with { TopLogProbabilityCount = 0 } })
        {
            SequenceOpenMessage open = Open(sampling), read = SequenceOpenMessage.Read(FrameOf(open.ToFrame()));
            Assert.Equal(open.RecentTokens, read.RecentTokens);
            Assert.Equal(open.Sampling.LogitBias.OrderBy(pair => pair.Key), read.Sampling.LogitBias.OrderBy(pair => pair.Key));
            Assert.Equal(open.Sampling with { LogitBias = read.Sampling.LogitBias }, read.Sampling);
            Assert.Equal((open.Sequence, open.KnownTokenCount), (read.Sequence, read.KnownTokenCount));
        }
    }

    [Fact]
    public void SequenceOpen_Truncated_IsRefusedByField()
    {
        OutgoingFrame frame = Open(Full).ToFrame();
        for (int length = 0; length < frame.Header.Length; length++)
        {
            var error = Assert.Throws<KvTransferException>(() => SequenceOpenMessage.Read(FrameOf(frame.Header[..length], frame.Payload)));
            Assert.NotEmpty(error.Field);
        }

        for (int length = 0; length < frame.Payload.Length; length++)
        {
            Assert.Equal("payloadBytes", Assert.Throws<KvTransferException>(() => SequenceOpenMessage.Read(FrameOf(frame.Header, frame.Payload[..length]))).Field);
        }
    }

    [Fact]
    public void SequenceOpen_FewerTokensThanPenaltiesLookAt_IsRefused()
    {
        SequenceOpenMessage open = Open(Full) with { RecentTokens = [1, 2] };
        Assert.Equal("payloadBytes", Assert.Throws<KvTransferException>(() => SequenceOpenMessage.Read(FrameOf(open.ToFrame()))).Field);
    }

    [Fact]
    public void SequenceOpen_BiasTwiceOrNotANumber_IsRefused()
    {
        OutgoingFrame frame = Open(Full).ToFrame();
        byte[] twice = frame.Payload.ToArray(), broken = frame.Payload.ToArray();
        twice[12] = 7;
        BitConverter.TryWriteBytes(broken.AsSpan(24), float.NaN);
        Assert.Equal("bias", Assert.Throws<KvTransferException>(() => SequenceOpenMessage.Read(FrameOf(frame.Header, twice))).Field);
        Assert.Equal("sampling", Assert.Throws<KvTransferException>(() => SequenceOpenMessage.Read(FrameOf(frame.Header, broken))).Field);
    }

    [Fact]
    public void Tokens_LogProbabilities_ComeBackAndNonsenseIsRefused()
    {
        var plain = new TokenChoice(5);
        var described = new TokenChoice(6, -0.25f) { Top = [new TokenLogProbability(1, -0.1f), new TokenLogProbability(2, float.NegativeInfinity)] };
        TokensMessage read = Through(new SampledToken(1, 9, plain), new SampledToken(2, 8, described));
        Assert.Equal((5, null, 0), (read.Tokens[0].Token.Id, read.Tokens[0].Token.LogProbability, read.Tokens[0].Token.Top.Count));
        Assert.Equal((6, -0.25f), (read.Tokens[1].Token.Id, read.Tokens[1].Token.LogProbability));
        Assert.Equal(described.Top, read.Tokens[1].Token.Top);
        Assert.Throws<KvTransferException>(() => Through(new SampledToken(1, 9, new TokenChoice(5, float.NaN))));
        Assert.Throws<KvTransferException>(() => Through(new SampledToken(1, 9, new TokenChoice(5, 1f))));
        Assert.Throws<KvTransferException>(() => Through(new SampledToken(1, 9, new TokenChoice(97))));
    }

    private static TokensMessage Through(params SampledToken[] tokens)
    {
        var writer = new HeaderWriter();
        new TokensMessage(3, tokens).Write(writer);
        return TokensMessage.Read(FrameOf(writer.ToArray(), default), vocabularySize: 97);
    }

    private static SequenceOpenMessage Open(SamplingOptions sampling) => new()
    {
        Sequence = 4, CapacityTokenCount = 100, PromptTokenCount = 10, Imports = true, TokenHash = new byte[32], Sampling = sampling, KnownTokenCount = 10,
        RecentTokens = sampling.HasPenalties ? [8, 9, 10] : [],
    };

    private static Frame FrameOf(in OutgoingFrame frame) => FrameOf(frame.Header, frame.Payload);

    private static Frame FrameOf(ReadOnlyMemory<byte> header, ReadOnlyMemory<byte> payload) => new()
    {
        Kind = FrameKind.SequenceOpen, Minor = Frame.VersionMinor, Sequence = 0, Nonce = 0, Offset = 0,
        Header = new ReadOnlySequence<byte>(header), Payload = new ReadOnlySequence<byte>(payload),
    };
}
