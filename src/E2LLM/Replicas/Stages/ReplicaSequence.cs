using System.Threading.Channels;
using E2LLM.KvCaching;
using E2LLM.Replicas.Connections;
using E2LLM.Sampling;
using E2LLM.Scheduling;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Stages;

/// <summary>One sequence as its driver sees it. State changes happen under the replica's lock; the tasks and the channel may be awaited anywhere.</summary>
internal sealed class ReplicaSequence
{
    private readonly Channel<TokenChoice> _sampled = Channel.CreateUnbounded<TokenChoice>();
    private readonly int _tokenBufferCount;
    private int _unreadCount;

    public ReplicaSequence(SequenceOpenMessage open, ScheduledSequence scheduled, int maxNewTokenCount, Predicate<int>? endsAt, int blocks, int stageCount, int tokenBufferCount)
    {
        Open = open;
        Pages = [.. open.Pages];
        ReusedTokenCount = int.MaxValue;
        HeldCounts = new int[stageCount];
        Scheduled = scheduled;
        RemainingTokenCount = maxNewTokenCount;
        EndsAt = endsAt;
        Blocks = blocks;
        AwaitedOpenCount = stageCount;
        AwaitedCloseCount = stageCount;
        AwaitedApplyCount = open.Imports ? stageCount : 0;
        AwaitedSentCount = open.Targets.Count > 0 ? stageCount : 0;
        _tokenBufferCount = tokenBufferCount;
        Complete(AwaitedApplyCount, Applied);
        Complete(AwaitedSentCount, Sent);
    }

    public SequenceOpenMessage Open { get; }

    public ulong Id => Open.Sequence;

    public ScheduledSequence Scheduled { get; }

    public Predicate<int>? EndsAt { get; }

    /// <summary>KV blocks to give back when all stages have let the sequence go.</summary>
    public int Blocks { get; }

    /// <summary>Keys of its whole pages, prompt and output so far.</summary>
    public List<PageKey> Pages { get; }

    /// <summary>Positions that every stage kept from earlier sequences: the first step begins behind them.</summary>
    public int ReusedTokenCount { get; private set; }

    /// <summary>Positions that each stage kept.</summary>
    public int[] HeldCounts { get; }

    /// <summary>Whether its pages are worth keeping: nothing went wrong with its numbers.</summary>
    public bool IsSound { get; set; } = true;

    public int RemainingTokenCount { get; set; }

    public int AwaitedOpenCount { get; set; }

    public int AwaitedApplyCount { get; set; }

    public int AwaitedSentCount { get; set; }

    public int AwaitedCloseCount { get; set; }

    public long SentBytes { get; set; }

    /// <summary>Of those, what the stage with layer 0 sent.</summary>
    public double FirstStageSentBytes { get; set; }

    /// <summary>What the link of that stage takes; 0 where nothing was measured.</summary>
    public double FirstStageBytesPerSecond { get; set; }

    /// <summary>What computing layer 0 took; 0 where it was not computed.</summary>
    public double FirstLayerSeconds { get; set; }

    public bool IsClosing { get; set; }

    /// <summary>Every stage has room and knows the sequence.</summary>
    public TaskCompletionSource Opened { get; } = New();

    /// <summary>Every stage has the prompt's keys and values.</summary>
    public TaskCompletionSource Applied { get; } = New();

    /// <summary>Every stage's keys and values are confirmed by those who get them.</summary>
    public TaskCompletionSource Sent { get; } = New();

    /// <summary>Tokens as they are sampled, until the last.</summary>
    public ChannelReader<TokenChoice> Sampled => _sampled.Reader;

    /// <summary>A stage has room and holds so many positions already.</summary>
    /// <exception cref="KvTransferException">The stage says that it holds more than there is.</exception>
    public void OpenedAt(int stage, ulong heldTokenCount)
    {
        if (heldTokenCount > (ulong)(Open.Imports ? Open.PromptTokenCount - 1 : Open.CapacityTokenCount))
        {
            throw new KvTransferException("count", 0, $"A stage says that it holds {heldTokenCount} positions of a sequence of {Open.CapacityTokenCount}, {Open.PromptTokenCount} of them to be imported.");
        }

        HeldCounts[stage] = (int)heldTokenCount;
        ReusedTokenCount = Math.Min(ReusedTokenCount, HeldCounts[stage]);
        if (--AwaitedOpenCount > 0)
        {
            return;
        }

        if (!Open.Imports)
        {
            // One token at least is computed, for its logits, and pages are whole: a prompt that all stages hold to its end gives up its last page.
            ReusedTokenCount = Math.Min(ReusedTokenCount, (Scheduled.Tokens.Count - 1) / PageKey.TokenCount * PageKey.TokenCount);
            Scheduled.StartAt(ReusedTokenCount);
        }

        Opened.TrySetResult();
    }

    /// <summary>The keys of the pages that all stages have computed, to be kept beyond the sequence's end.</summary>
    public IReadOnlyList<PageKey> PagesToKeep()
    {
        if (!IsSound || (Open.Imports && !Applied.Task.IsCompletedSuccessfully))
        {
            return [];
        }

        PageKey.Extend(Pages, Scheduled.Tokens);
        return Pages[..Math.Min(Pages.Count, Scheduled.SubmittedCount / PageKey.TokenCount)];
    }

    /// <summary>Takes a token that was sampled; <see cref="Publish"/> hands it to the consumer.</summary>
    public void Take(TokenChoice token)
    {
        Scheduled.Append(token.Id);
        RemainingTokenCount = EndsAt?.Invoke(token.Id) == true ? 0 : RemainingTokenCount - 1;
        Scheduled.IsPaused = Interlocked.Increment(ref _unreadCount) >= _tokenBufferCount;
    }

    /// <summary>Hands a token to the consumer.</summary>
    /// <param name="token">The token.</param>
    /// <param name="isLast">Whether none follows.</param>
    public void Publish(TokenChoice token, bool isLast)
    {
        _sampled.Writer.TryWrite(token);
        if (isLast)
        {
            _sampled.Writer.TryComplete();
        }
    }

    /// <summary>The consumer took a token.</summary>
    /// <returns>Whether the sequence rested for want of room and may go on.</returns>
    public bool Consumed() => Interlocked.Decrement(ref _unreadCount) == _tokenBufferCount - 1;

    /// <summary>Ends everything that is pending with <paramref name="error"/>.</summary>
    public void Fail(Exception error)
    {
        foreach (TaskCompletionSource source in new[] { Opened, Applied, Sent })
        {
            if (source.TrySetException(error))
            {
                // Whoever waits sees it; that nobody may wait for this one is no fault.
                _ = source.Task.Exception;
            }
        }

        _sampled.Writer.TryComplete(error);
    }

    /// <summary>Sets <paramref name="source"/> when nothing is awaited any more.</summary>
    public static void Complete(int awaited, TaskCompletionSource source)
    {
        if (awaited == 0)
        {
            source.TrySetResult();
        }
    }

    private static TaskCompletionSource New() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
