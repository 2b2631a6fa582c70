using System.IO.Pipelines;
using E2LLM.Profiling;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Profiling;

public sealed class LinkProfilerTests
{
    private static readonly LinkProfilerOptions Small = new() { FirstTransferBytes = 1000, MaxTransferBytes = 200_000, RepeatCount = 3 };

    [Fact]
    public async Task Measure_RealClockOverPipes_GivesUsableLinksAndEndsTheResponder()
    {
        (Stream near, Stream far) = Connect();
        Task responder = LinkProfiler.RespondAsync(far, Small);
        LinkProfile profile = await LinkProfiler.MeasureAsync(near, Small);
        await responder;
        foreach (var link in new[] { profile.ToResponder, profile.FromResponder })
        {
            Assert.True(double.IsFinite(link.BytesPerSecond) && link.BytesPerSecond > 0);
            Assert.True(double.IsFinite(link.RoundTripSeconds) && link.RoundTripSeconds > 0);
        }

        Assert.InRange(profile.ErrorFraction, 0, 0.99);
    }

    /// <summary>Read twice per exchange, the clock makes each echo 1 s and each transfer 5 s: the way itself takes 4 s.</summary>
    [Fact]
    public async Task Measure_KnownClock_GivesTheFiguresByHand()
    {
        (Stream near, Stream far) = Connect();
        Task responder = LinkProfiler.RespondAsync(far, Small);
        LinkProfile profile = await LinkProfiler.MeasureAsync(near, Small with { TimeProvider = new SteppingClock(reading => reading < 8 ? 1 : 5) });
        await responder;
        Assert.Equal(1, profile.ToResponder.RoundTripSeconds, 1e-9);
        Assert.Equal(1000 / 4.0, profile.ToResponder.BytesPerSecond, 1e-9);
        Assert.Equal(profile.ToResponder, profile.FromResponder);
        Assert.Equal(0, profile.ErrorFraction);
    }

    /// <summary>A transfer as short as an echo must not divide by nothing; the size is doubled up to its limit.</summary>
    [Fact]
    public async Task Measure_ClockThatStandsStill_UsesTheLargestTransferAndStaysFinite()
    {
        (Stream near, Stream far) = Connect();
        Task responder = LinkProfiler.RespondAsync(far, Small);
        LinkProfile profile = await LinkProfiler.MeasureAsync(near, Small with { TimeProvider = new SteppingClock(_ => 0) });
        await responder;
        Assert.Equal(200_000 / (0.5 / TimeSpan.TicksPerSecond), profile.FromResponder.BytesPerSecond, 1.0);
    }

    [Fact]
    public async Task Measure_SilentPeer_CanBeCancelled()
    {
        (Stream near, _) = Connect();
        using var source = new CancellationTokenSource();
        Task<LinkProfile> measuring = LinkProfiler.MeasureAsync(near, Small, source.Token);
        await source.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => measuring);
    }

    [Fact]
    public async Task Respond_SilentPeer_CanBeCancelled()
    {
        (_, Stream far) = Connect();
        using var source = new CancellationTokenSource();
        Task responding = LinkProfiler.RespondAsync(far, Small, source.Token);
        await source.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => responding);
    }

    [Fact]
    public async Task Measure_PeerThatHangsUp_SaysClosed()
    {
        (Stream near, Stream far) = Connect();
        await far.DisposeAsync();
        Assert.Equal(LinkProfilerFailure.Closed, (await Assert.ThrowsAsync<LinkProfilerException>(() => LinkProfiler.MeasureAsync(near, Small))).Failure);
    }

    [Theory]
    [InlineData("E2LP\u0002\0\0\0\0\0\0\0\0\0\0\0")] // another kind than asked for
    [InlineData("E2LP\u0001\0\0\0\u0001\0\0\0\0\0\0\0")] // another length
    [InlineData("HTTP/1.1 400 Bad Request")]
    public async Task Measure_WrongAnswer_SaysDamaged(string answer)
    {
        (Stream near, Stream far) = Connect();
        await far.WriteAsync(System.Text.Encoding.Latin1.GetBytes(answer));
        Assert.Equal(LinkProfilerFailure.Damaged, (await Assert.ThrowsAsync<LinkProfilerException>(() => LinkProfiler.MeasureAsync(near, Small))).Failure);
    }

    [Theory]
    [InlineData("", null)] // an end between frames is no failure
    [InlineData("E2LP\u0004\0\0\0\0\0\0\0\0\0\0\0", null)]
    [InlineData("E2LP\u0001\0\0\0\0\0\0\0\0\0\0", LinkProfilerFailure.Closed)] // one byte short
    [InlineData("E2LP\u0002\0\0\0\u0005\0\0\0\0\0\0\0abcd", LinkProfilerFailure.Closed)] // payload one byte short
    [InlineData("E2LQ\u0001\0\0\0\0\0\0\0\0\0\0\0", LinkProfilerFailure.Damaged)]
    [InlineData("E2LP\0\0\0\0\0\0\0\0\0\0\0\0", LinkProfilerFailure.Damaged)]
    [InlineData("E2LP\u0005\0\0\0\0\0\0\0\0\0\0\0", LinkProfilerFailure.Damaged)]
    [InlineData("E2LP\u0002\0\0\0\0\0\0\0\0\0\0\u0080", LinkProfilerFailure.Damaged)] // negative length
    [InlineData("E2LP\u0003\0\0\0\0\0\0\0\0\u0001\0\0", LinkProfilerFailure.TooLarge)]
    [InlineData("E2LP\u0001\0\0\0\u0001\0\0\0\0\0\0\0a", LinkProfilerFailure.TooLarge)] // an echo has no payload
    public async Task Respond_Bytes_EndAsTheProtocolSays(string bytes, LinkProfilerFailure? expected)
    {
        (Stream near, Stream far) = Connect();
        await near.WriteAsync(System.Text.Encoding.Latin1.GetBytes(bytes));
        await near.DisposeAsync();
        Task responding = LinkProfiler.RespondAsync(far, Small);
        LinkProfilerException? error = await Record.ExceptionAsync(() => responding) switch
        {
            null => null,
            LinkProfilerException typed => typed,
            var other => throw other,
        };
        Assert.Equal(expected, error?.Failure);
    }

    private static (Stream Near, Stream Far) Connect()
    {
        (PipeEnds near, PipeEnds far) = PipeEnds.Connect();
        return (near.ToStream(), far.ToStream());
    }
}
