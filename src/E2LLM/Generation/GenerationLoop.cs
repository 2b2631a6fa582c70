using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using E2LLM.Diagnostics;
using E2LLM.Execution;
using E2LLM.Sampling;
using E2LLM.Scheduling;

namespace E2LLM.Generation;

/// <summary>
/// The thread that computes all texts of one generator: they join and leave between steps, and a step holds the next token of every text that
/// generates and a piece of the prompts that are still being read. Owns its thread; borrows the executor. Thread-safe.
/// </summary>
internal sealed class GenerationLoop : IDisposable
{
    private readonly LayerRangeExecutor _executor;
    private readonly CancellationToken _stopping;
    private readonly BlockingCollection<GenerationRequest> _changed = [];
    private readonly StepScheduler _scheduler;
    private readonly Dictionary<ScheduledSequence, GenerationRequest> _running = [];
    private readonly List<ScheduledItem> _items = [];
    private readonly Meter _meter = new(Telemetry.SourceName);
    private readonly Thread _thread;
    private readonly int[] _ids;
    private readonly float[] _hidden;
    private readonly SequenceSlice[] _slices;
    private float[] _rows = [], _logits = [];

    public GenerationLoop(LayerRangeExecutor executor, GeneratorOptions options, CancellationToken stopping)
    {
        int stepTokens = options.Executor.MaxBatchTokenCount;
        _executor = executor;
        _stopping = stopping;
        _scheduler = new StepScheduler(stageCount: 1, stepTokens);
        Admission = new BlockAdmission(executor.KvPool.BlockCount, executor.KvPool.Layout.BlockTokenCount, options.MaxSequenceCount);
        _ids = new int[stepTokens];
        _hidden = new float[(long)stepTokens * executor.Shape.HiddenSize];
        _slices = new SequenceSlice[Math.Min(stepTokens, options.MaxSequenceCount)];
        var tag = new KeyValuePair<string, object?>(Telemetry.DeviceTag, options.Name);
        Name = tag;
        _meter.CreateObservableGauge(Telemetry.KvBlocksUsed, () => new Measurement<int>(executor.KvPool.BlockCount - executor.KvPool.FreeBlockCount, tag));
        _meter.CreateObservableGauge(Telemetry.KvBlocksKept, () => new Measurement<int>(executor.KvPool.KeptBlockCount, tag));
        _meter.CreateObservableGauge(Telemetry.RequestQueueLength, () => new Measurement<int>(Admission.WaitingCount, tag));
        _thread = new Thread(Run) { IsBackground = true, Name = "E2LLM generator" };
        _thread.Start();
    }

    /// <summary>Who may join: memory and places.</summary>
    public BlockAdmission Admission { get; }

    private KeyValuePair<string, object?> Name { get; }

    /// <summary>Tells that something about a request changed: it came, was cancelled, or its consumer has room again.</summary>
    /// <returns>False where the loop has ended.</returns>
    public bool Post(GenerationRequest request)
    {
        try
        {
            _changed.Add(request, CancellationToken.None);
            return true;
        }
        catch (InvalidOperationException)
        {
            // Completed or disposed by now.
            return false;
        }
    }

    /// <summary>Ends all texts and the thread. The token given to the constructor must be set before.</summary>
    public void Dispose()
    {
        Admission.Close(new OperationCanceledException("The generator was disposed."));
        _changed.CompleteAdding();
        _thread.Join();
        _changed.Dispose();
        _meter.Dispose();
    }

    private void Run()
    {
        while (!_stopping.IsCancellationRequested)
        {
            while (_changed.TryTake(out GenerationRequest? changed))
            {
                Look(changed);
            }

            if (_scheduler.TryNext(_items))
            {
                Step();
            }
            else if (_changed.TryTake(out GenerationRequest? changed, Timeout.Infinite))
            {
                Look(changed);
            }
            else
            {
                break;
            }
        }

        foreach (GenerationRequest request in _running.Values.Concat(_changed.GetConsumingEnumerable()).Distinct().ToList())
        {
            Leave(request, new OperationCanceledException("The generator was disposed."));
        }
    }

    private void Look(GenerationRequest request)
    {
        if (request.HasEnded)
        {
            return;
        }

        if (request.Cancellation.IsCancellationRequested)
        {
            Leave(request, new OperationCanceledException(request.Cancellation));
        }
        else if (request.Scheduled is { } scheduled)
        {
            scheduled.IsPaused = false;
            _scheduler.Ready(scheduled);
        }
        else
        {
            Join(request);
        }
    }

    private void Join(GenerationRequest request)
    {
        try
        {
            int reused = request.Join(_executor.CreateSequence());
            Telemetry.PromptTokenCounter.Add(request.PromptIds.Length, Name);
            Telemetry.PromptTokenReusedCounter.Add(reused, Name);
            _running.Add(request.Scheduled!, request);
            _scheduler.Add(request.Scheduled!);
        }
#pragma warning disable CA1031 // Whatever goes wrong belongs to whoever enumerates, where it is thrown again.
        catch (Exception error)
#pragma warning restore CA1031
        {
            Leave(request, error);
        }
    }

    private void Leave(GenerationRequest request, Exception? error)
    {
        if (request.HasEnded)
        {
            return;
        }

        if (request.Scheduled is { } scheduled)
        {
            _scheduler.Remove(scheduled);
            _running.Remove(scheduled);
        }

        request.End(error);
        Admission.Release(request.Blocks);
    }

    private void Step()
    {
        GenerationRequest[] requests = [.. _items.Select(item => _running[item.Sequence])];
        try
        {
            // One text alone ends between two layers; among others it ends between two steps, so that nobody's work is thrown away.
            Compute(requests, requests.Length == 1 ? requests[0].Cancellation : _stopping);
        }
#pragma warning disable CA1031 // As above.
        catch (Exception error)
#pragma warning restore CA1031
        {
            Array.ForEach(requests, request => Leave(request, error));
        }
        finally
        {
            _scheduler.StepDone();
            Array.Clear(_slices);
        }
    }

    private void Compute(GenerationRequest[] requests, CancellationToken ct)
    {
        int tokens = 0, hidden = _executor.Shape.HiddenSize;
        for (int i = 0; i < requests.Length; i++)
        {
            ScheduledItem item = _items[i];
            _slices[i] = new SequenceSlice(requests[i].Sequence!, item.TokenCount);
            for (int token = 0; token < item.TokenCount; token++)
            {
                _ids[tokens++] = item.Sequence.Tokens[item.FirstPosition + token];
            }
        }

        Span<float> states = _hidden.AsSpan(0, tokens * hidden);
        _executor.Embed(_ids.AsSpan(0, tokens), states);
        _executor.Forward(_slices.AsSpan(0, requests.Length), states, ct);
        int sampled = GatherSampled(hidden);
        int vocabulary = _executor.Shape.VocabularySize;
        Span<float> logits = Grow(ref _logits, sampled * vocabulary);
        _executor.ComputeLogits(_rows.AsSpan(0, sampled * hidden), logits);
        for (int i = 0, row = 0; i < requests.Length; i++)
        {
            requests[i].KeepPages();
            if (_items[i].Samples)
            {
                Sample(requests[i], logits.Slice(row++ * vocabulary, vocabulary));
            }
        }
    }

    /// <summary>Copies the hidden states whose logits are wanted next to each other.</summary>
    private int GatherSampled(int hidden)
    {
        int sampled = 0, row = 0;
        Grow(ref _rows, _items.Count * hidden);
        foreach (ScheduledItem item in _items)
        {
            row += item.TokenCount;
            if (item.Samples)
            {
                _hidden.AsSpan((row - 1) * hidden, hidden).CopyTo(_rows.AsSpan(sampled++ * hidden));
            }
        }

        return sampled;
    }

    private void Sample(GenerationRequest request, ReadOnlySpan<float> logits)
    {
        if (request.Cancellation.IsCancellationRequested)
        {
            Leave(request, new OperationCanceledException(request.Cancellation));
            return;
        }

        try
        {
            ScheduledSequence scheduled = request.Scheduled!;
            if (request.Emit(Sampler.Choose(logits, request.Options.Sampling, scheduled.Tokens.Count, scheduled.TokenSpan)))
            {
                Leave(request, null);
                return;
            }

            _scheduler.Ready(scheduled);
        }
#pragma warning disable CA1031 // One text's numbers are no other text's matter.
        catch (Exception error)
#pragma warning restore CA1031
        {
            Leave(request, error);
        }
    }

    private static Span<float> Grow(ref float[] buffer, int length)
    {
        if (buffer.Length < length)
        {
            buffer = new float[length];
        }

        return buffer.AsSpan(0, length);
    }
}
