using System.Runtime.InteropServices;
using System.Threading.Channels;
using E2LLM.KvCaching;
using E2LLM.Sampling;
using E2LLM.Scheduling;

namespace E2LLM.Generation;

/// <summary>
/// One text under way: what was asked, its place in the batch, its keys and values, and the tokens on their way to the consumer. The computing thread
/// owns everything but the reading end of the channel.
/// </summary>
internal sealed class GenerationRequest
{
    private readonly Channel<GeneratedToken> _tokens = Channel.CreateUnbounded<GeneratedToken>(new UnboundedChannelOptions { SingleReader = true, SingleWriter = true });
    private readonly TextContinuation _text;
    private readonly int _tokenBufferCount;
    private readonly List<PageKey> _pages = [];
    private int _unreadCount;
    private int _reusedCount;
    private int _keptPageCount;

    public GenerationRequest(int[] promptIds, GenerationOptions options, TextContinuation text, int tokenBufferCount, int capacity, CancellationToken cancellation)
    {
        PromptIds = promptIds;
        Options = options;
        Capacity = capacity;
        Cancellation = cancellation;
        _text = text;
        _tokenBufferCount = tokenBufferCount;
    }

    public int[] PromptIds { get; }

    public GenerationOptions Options { get; }

    /// <summary>Positions that the text may take, prompt included.</summary>
    public int Capacity { get; }

    public CancellationToken Cancellation { get; }

    /// <summary>Blocks that admission granted.</summary>
    public int Blocks { get; set; }

    /// <summary>Its place in the batch; null before it joined.</summary>
    public ScheduledSequence? Scheduled { get; private set; }

    /// <summary>Keys and values; null before it joined.</summary>
    public KvCache? Sequence { get; private set; }

    /// <summary>Whether nothing more will come.</summary>
    public bool HasEnded { get; private set; }

    /// <summary>The consumer's end.</summary>
    public ChannelReader<GeneratedToken> Tokens => _tokens.Reader;

    /// <summary>Takes up pages that earlier texts left, and room for the rest.</summary>
    /// <returns>Prompt tokens that need not be computed.</returns>
    public int Join(KvCache sequence)
    {
        Sequence = sequence;
        PageKey.Extend(_pages, PromptIds);

        // At least one token is computed: its hidden state gives the first logits.
        int wanted = Math.Min(_pages.Count, (PromptIds.Length - 1) / PageKey.TokenCount);
        _reusedCount = sequence.AdoptPrefix(0, CollectionsMarshal.AsSpan(_pages)[..wanted]);
        sequence.Reserve(Capacity);
        Scheduled = new ScheduledSequence(PromptIds, _reusedCount);
        return _reusedCount;
    }

    /// <summary>Leaves the pages that are full now to later texts.</summary>
    public void KeepPages()
    {
        int full = Sequence!.Length / PageKey.TokenCount;
        if (full > _keptPageCount)
        {
            PageKey.Extend(_pages, Scheduled!.Tokens);
            Sequence.KeepPrefix(0, CollectionsMarshal.AsSpan(_pages)[..full]);
            _keptPageCount = full;
        }
    }

    /// <summary>Hands a token to the consumer.</summary>
    /// <returns>Whether it was the last.</returns>
    public bool Emit(TokenChoice choice)
    {
        GeneratedToken token = _text.Append(choice) with { ReusedPromptTokenCount = _reusedCount };
        Scheduled!.Append(token.Id);
        Scheduled.IsPaused = Interlocked.Increment(ref _unreadCount) >= _tokenBufferCount;
        _tokens.Writer.TryWrite(token);
        return token.Finish is not null;
    }

    /// <summary>The consumer took a token. From any thread.</summary>
    /// <returns>Whether the text rested for want of room and may go on.</returns>
    public bool Consumed() => Interlocked.Decrement(ref _unreadCount) == _tokenBufferCount - 1;

    /// <summary>Ends the text, with an error or without, and frees what it holds.</summary>
    public void End(Exception? error)
    {
        HasEnded = true;
        Sequence?.Dispose();
        _tokens.Writer.TryComplete(error);
    }
}
