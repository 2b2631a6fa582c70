using System.Buffers;
using E2LLM.KvCaching;
using E2LLM.Replicas;
using E2LLM.Replicas.Connections;
using E2LLM.Sampling;
using E2LLM.Transfer;

namespace E2LLM.Fuzz.Targets;

/// <summary>Mutated frames of every kind that drivers and stages exchange, with checksums made right: read, or refused with KvTransferException.</summary>
internal sealed class ControlFrameTarget : IFuzzTarget
{
    private const int Vocabulary = 97, MaxTokens = 64, TokenBytes = 4;

    private static readonly ModelIdentity Model = new(
        new ModelShape
        {
            Name = "fuzz", Architecture = "llama", LayerCount = 8, HiddenSize = 8, HeadCount = 2, KvHeadCount = 2, HeadDim = 4, FeedForwardSize = 16, VocabularySize = Vocabulary,
            ContextLength = 512, RopeDimensionCount = 4, RmsNormEpsilon = 1e-5f,
        }, new byte[32], new byte[32]);

    private readonly OutgoingFrame[] _seeds = [.. Seeds()];

    public string Name => "control";

    public byte[] CreateInput(Random random)
    {
        OutgoingFrame seed = _seeds[random.Next(_seeds.Length)];
        byte[] header = seed.Header.ToArray(), payload = seed.Payload.ToArray();
        if (random.Next(4) > 0 || payload.Length == 0)
        {
            // Every second field of these headers starts at a multiple of four from some field on.
            header = ByteMutator.Mutate(header, [.. Enumerable.Range(0, Math.Max(1, header.Length / 4)).Select(i => (i * 4, 4)), (0, 1), (8, 8)], random);
        }
        else
        {
            payload = ByteMutator.Mutate(payload, [(0, 4), (4, 4)], random);
        }

        byte[] bytes = new byte[Frame.PrefixBytes + header.Length + payload.Length];
        byte minor = random.Next(6) == 0 ? (byte)random.Next(5) : seed.Minor;
        FrameWriter.WritePrefix(bytes, seed.Kind, header, payload, 0, 0, minor);
        header.CopyTo(bytes, Frame.PrefixBytes);
        payload.CopyTo(bytes, Frame.PrefixBytes + header.Length);
        return bytes;
    }

    public bool Check(byte[] input)
    {
        try
        {
            if (!FrameScanner.TryScan(new ReadOnlySequence<byte>(input), 0, TransferLimits.Untrusted, out Frame frame, out _))
            {
                return false;
            }

            Read(frame);
            return true;
        }
        catch (KvTransferException)
        {
            return false;
        }
    }

    private static void Read(in Frame frame)
    {
        switch (frame.Kind)
        {
            case FrameKind.Hello:
                HelloMessage.Read(frame);
                break;
            case FrameKind.Welcome:
                WelcomeMessage.Read(frame);
                break;
            case FrameKind.Reject:
                RejectMessage.Read(frame);
                break;
            case FrameKind.Attach:
                AttachMessage.Read(frame);
                break;
            case FrameKind.Fault:
                FaultMessage.Read(frame);
                break;
            case FrameKind.SequenceOpen:
                SequenceOpenMessage open = SequenceOpenMessage.Read(frame);
                if (SequenceOpenMessage.Read(Again(open.ToFrame())).PromptIds.Length != open.PromptIds.Length)
                {
                    throw new FuzzFailureException("An opening that was read does not come back.");
                }

                break;
            case FrameKind.SequenceClose:
                SequenceCloseMessage.Read(frame);
                break;
            case FrameKind.Step:
                StepMessage.Read(frame, TokenBytes, MaxTokens);
                break;
            case FrameKind.Tokens:
                TokensMessage.Read(frame, Vocabulary);
                break;
            default:
                SequenceMessage.Read(frame);
                break;
        }
    }

    private static Frame Again(in OutgoingFrame frame) => new()
    {
        Kind = frame.Kind, Minor = frame.Minor, Sequence = 0, Nonce = 0, Offset = 0,
        Header = new ReadOnlySequence<byte>(frame.Header), Payload = new ReadOnlySequence<byte>(frame.Payload),
    };

    private static IEnumerable<OutgoingFrame> Seeds()
    {
        var role = new StageRole(new LayerRange(0, 4), true, false);
        var hello = new HelloMessage
        {
            Purpose = ConnectionPurpose.Driver, From = "driver", To = "stage", Session = 3, Nonce = 4, Role = role, ElementType = KvElementType.F16, Model = Model,
        };
        yield return hello.ToFrame();
        yield return (hello with { Codecs = [new CodecName(4, "int8"), new CodecName(128, "own")] }).ToFrame();
        yield return new WelcomeMessage("stage", 1, 64, 10, 512, 63).ToFrame();
        yield return Of(FrameKind.Reject, new RejectMessage("differ:", [new IdentityDifference("layers", "[0, 4)", "[0, 3)")]).Write);
        yield return Of(FrameKind.Attach, new AttachMessage(0, 2, "next", role, "auto").Write);
        yield return Of(FrameKind.Fault, new FaultMessage(FaultCode.PeerLost, 5, "peer", "gone").Write);
        yield return new SequenceMessage(5, 130).ToFrame(FrameKind.KvApplied);
        yield return new SequenceMessage(5, 130) { Measure = 125_000_000 }.ToFrame(FrameKind.KvSent);
        yield return new SequenceCloseMessage(7, [default, default]).ToFrame();
        yield return OutgoingFrame.WithRented(FrameKind.Step, Bytes(new StepMessage(9, [new StepItem(1, 0, 3, false, 4), new StepItem(2, 9, 1, true, 5)]).Write), new byte[16], 16);
        yield return Of(FrameKind.Tokens, new TokensMessage(9, [new SampledToken(1, 4, new TokenChoice(5)), new SampledToken(2, 9, new TokenChoice(6, -1f) { Top = [new TokenLogProbability(7, -0.5f)] })]).Write);
        var sampling = new SamplingOptions { Temperature = 0.5f, RepetitionPenalty = 1.1f, PenaltyWindow = 4, LogitBias = new Dictionary<int, float> { [3] = 1 }, LogProbabilities = true };
        var open = new SequenceOpenMessage
        {
            Sequence = 6, CapacityTokenCount = 200, PromptTokenCount = 130, KnownTokenCount = 130, Imports = true, TokenHash = new byte[32], Sampling = sampling, RecentTokens = [1, 2, 3, 4],
            Pages = [default, default], Targets = [new KvTarget("d0", 1, 2, role, 64)],
        };
        yield return open.ToFrame();
        yield return (open with { TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Targets = [] }).ToFrame();
        yield return (open with { AdoptsPages = true, ComputesFirstLayer = true, PromptIds = new int[130] }).ToFrame();
    }

    private static OutgoingFrame Of(FrameKind kind, Action<HeaderWriter> write) => OutgoingFrame.WithoutPayload(kind, Bytes(write));

    private static byte[] Bytes(Action<HeaderWriter> write)
    {
        var writer = new HeaderWriter();
        write(writer);
        return writer.ToArray();
    }
}
