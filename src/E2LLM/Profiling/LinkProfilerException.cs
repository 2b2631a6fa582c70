namespace E2LLM.Profiling;

/// <summary>Why a link could not be measured.</summary>
public enum LinkProfilerFailure
{
    /// <summary>The stream ended, or broke, within a frame or where an answer was due.</summary>
    Closed,

    /// <summary>The other side sent bytes that are no frame of this protocol, or not the one that was due.</summary>
    Damaged,

    /// <summary>The other side asked for more bytes than <see cref="LinkProfilerOptions.MaxTransferBytes"/> allows.</summary>
    TooLarge,
}

/// <summary>The other side of a link broke off or does not speak the protocol of <see cref="LinkProfiler"/>. The stream is of no further use.</summary>
[System.Diagnostics.CodeAnalysis.SuppressMessage("Design", "CA1032", Justification = "A failure without its kind would say nothing.")]
public sealed class LinkProfilerException : IOException
{
    /// <summary>Describes a failure.</summary>
    /// <param name="failure">Its kind.</param>
    /// <param name="message">What was expected and what came.</param>
    /// <param name="inner">What was thrown underneath.</param>
    public LinkProfilerException(LinkProfilerFailure failure, string message, Exception? inner = null)
        : base(message, inner) => Failure = failure;

    /// <summary>What kind of failure it is.</summary>
    public LinkProfilerFailure Failure { get; }
}
