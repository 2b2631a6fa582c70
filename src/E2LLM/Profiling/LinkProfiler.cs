using E2LLM.Costs;

namespace E2LLM.Profiling;

/// <summary>
/// Measures a connection: one side calls <see cref="MeasureAsync"/>, the other <see cref="RespondAsync"/>, on the two ends of a duplex stream that the hosts
/// supply and own. Stateless; one call per stream at a time.
/// </summary>
/// <remarks>
/// The protocol, version 1. A frame is 16 bytes, little-endian: the magic <c>E2LP</c> (4 bytes), a kind (4 bytes), a length (8 bytes, 0 or more), and for some kinds as many
/// bytes of payload of any content. The initiator asks, one question at a time; the responder answers each with a frame of the same kind and length:
/// <list type="table">
/// <item><term>1, echo</term><description>No payload in either direction, length 0. Timed from asking to answer: the round trip.</description></item>
/// <item><term>2, take</term><description>The question has payload; the answer, which has none, is sent when all of it is read. Times the way to the responder.</description></item>
/// <item><term>3, give</term><description>The answer has payload, the question none. Times the way back.</description></item>
/// <item><term>4, end</term><description>Length 0, no answer: the responder returns. It also returns where the stream ends between frames.</description></item>
/// </list>
/// A speed is <c>bytes / (seconds - roundTrip)</c>; never more than half of a transfer's time is taken for the round trip.
/// </remarks>
public static class LinkProfiler
{
    private const double LargestErrorFraction = 0.99;

    /// <summary>Measures round trip and bytes per second of both directions, and ends the responder.</summary>
    /// <param name="stream">One end of the connection; the other end is being answered by <see cref="RespondAsync"/>. Stays open.</param>
    /// <param name="options">How to measure; null means the defaults.</param>
    /// <param name="cancellationToken">Cancels; the stream is of no further use then.</param>
    /// <exception cref="LinkProfilerException">The stream ended or broke, or the other side does not speak the protocol.</exception>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public static async Task<LinkProfile> MeasureAsync(Stream stream, LinkProfilerOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(stream);
        options ??= new LinkProfilerOptions();
        options.Validate();
        var frames = new LinkFrames(stream);

        // The first exchange is not counted: it waits until the responder is there.
        await AskAsync(frames, LinkFrameKind.Echo, 0, options.TimeProvider, cancellationToken).ConfigureAwait(false);
        double roundTrip = (await RepeatAsync(frames, LinkFrameKind.Echo, 0, options, cancellationToken).ConfigureAwait(false)).Seconds;
        (double toSpeed, double toSpread) = await SpeedAsync(frames, LinkFrameKind.Take, roundTrip, options, cancellationToken).ConfigureAwait(false);
        (double fromSpeed, double fromSpread) = await SpeedAsync(frames, LinkFrameKind.Give, roundTrip, options, cancellationToken).ConfigureAwait(false);
        await frames.SendAsync(LinkFrameKind.End, 0, 0, cancellationToken).ConfigureAwait(false);
        return new LinkProfile(
            new NetworkLink(toSpeed, roundTrip), new NetworkLink(fromSpeed, roundTrip), Math.Min(LargestErrorFraction, Math.Max(toSpread, fromSpread)));
    }

    /// <summary>Answers one <see cref="MeasureAsync"/> on the other end, until it ends or the stream does.</summary>
    /// <param name="stream">One end of the connection. Stays open.</param>
    /// <param name="options">Only <see cref="LinkProfilerOptions.MaxTransferBytes"/> counts: it bounds what one question of a stranger can cost. Null means the defaults.</param>
    /// <param name="cancellationToken">Cancels; the stream is of no further use then. The only limit to how many questions are answered.</param>
    /// <exception cref="LinkProfilerException">The stream broke within a frame, or the other side does not speak the protocol or asks for too much.</exception>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public static async Task RespondAsync(Stream stream, LinkProfilerOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(stream);
        options ??= new LinkProfilerOptions();
        options.Validate();
        var frames = new LinkFrames(stream);
        while (await frames.ReceiveAsync(mayEnd: true, cancellationToken).ConfigureAwait(false) is var (kind, length) && kind != LinkFrameKind.End)
        {
            long limit = kind == LinkFrameKind.Echo ? 0 : options.MaxTransferBytes;
            if (length > limit)
            {
                throw new LinkProfilerException(LinkProfilerFailure.TooLarge, $"A frame of kind {kind} asks for {length} bytes; {limit} are allowed.");
            }

            await frames.SkipAsync(kind == LinkFrameKind.Take ? length : 0, cancellationToken).ConfigureAwait(false);
            await frames.SendAsync(kind, length, kind == LinkFrameKind.Give ? length : 0, cancellationToken).ConfigureAwait(false);
        }
    }

    private static async Task<(double BytesPerSecond, double SpreadFraction)> SpeedAsync(
        LinkFrames frames, LinkFrameKind kind, double roundTrip, LinkProfilerOptions options, CancellationToken cancellationToken)
    {
        long bytes = options.FirstTransferBytes;
        while (await AskAsync(frames, kind, bytes, options.TimeProvider, cancellationToken).ConfigureAwait(false) < options.TransferSeconds && bytes < options.MaxTransferBytes)
        {
            bytes = Math.Min(bytes * 2, options.MaxTransferBytes);
        }

        Timing timing = await RepeatAsync(frames, kind, bytes, options, cancellationToken).ConfigureAwait(false);
        return (bytes / Math.Max(timing.Seconds - roundTrip, timing.Seconds / 2), timing.SpreadFraction);
    }

    private static async Task<Timing> RepeatAsync(LinkFrames frames, LinkFrameKind kind, long bytes, LinkProfilerOptions options, CancellationToken cancellationToken)
    {
        var seconds = new double[options.RepeatCount];
        for (int i = 0; i < seconds.Length; i++)
        {
            seconds[i] = await AskAsync(frames, kind, bytes, options.TimeProvider, cancellationToken).ConfigureAwait(false);
        }

        return PassTimer.Summarize(seconds);
    }

    /// <summary>Asks once and returns the seconds until the whole answer was there, at least one tick of the clock.</summary>
    private static async Task<double> AskAsync(LinkFrames frames, LinkFrameKind kind, long bytes, TimeProvider clock, CancellationToken cancellationToken)
    {
        long began = clock.GetTimestamp();
        await frames.SendAsync(kind, bytes, kind == LinkFrameKind.Take ? bytes : 0, cancellationToken).ConfigureAwait(false);
        (LinkFrameKind Kind, long Length) answer = (await frames.ReceiveAsync(mayEnd: false, cancellationToken).ConfigureAwait(false))!.Value;
        if (answer != (kind, bytes))
        {
            throw new LinkProfilerException(
                LinkProfilerFailure.Damaged, $"Expected an answer of kind {kind} with length {bytes}, got kind {answer.Kind} with length {answer.Length}.");
        }

        await frames.SkipAsync(kind == LinkFrameKind.Give ? bytes : 0, cancellationToken).ConfigureAwait(false);
        return PassTimer.SecondsSince(began, clock);
    }
}
