using System.Runtime.CompilerServices;
using System.Text;
using E2LLM.Generation;
using Microsoft.Extensions.Logging;

namespace E2LLM.Extensions.AI;

/// <summary>The log of one request: how it began and how it ended, however that was. Used by one caller.</summary>
internal sealed class RequestLog(ILogger logger, string responseId, bool logsText) : IDisposable
{
    private readonly StringBuilder? _answer = logsText && logger.IsEnabled(LogLevel.Trace) ? new StringBuilder() : null;
    private FinishReason? _finish;
    private bool _failed;
    private int _count;

    public void Started(int promptTokenCount, int maxTokenCount, Func<string> prompt)
    {
        ChatLog.Started(logger, responseId, promptTokenCount, maxTokenCount);
        if (_answer is not null)
        {
            ChatLog.Prompt(logger, responseId, prompt());
        }
    }

    /// <summary>Passes tokens through and notes what comes.</summary>
    public async IAsyncEnumerable<GeneratedToken> Watch(IAsyncEnumerable<GeneratedToken> tokens, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        IAsyncEnumerator<GeneratedToken> enumerator = tokens.GetAsyncEnumerator(cancellationToken);
        await using (enumerator.ConfigureAwait(false))
        {
            while (true)
            {
                try
                {
                    if (!await enumerator.MoveNextAsync().ConfigureAwait(false))
                    {
                        break;
                    }
                }
                catch (Exception error) when (error is not OperationCanceledException)
                {
                    _failed = true;
                    ChatLog.Failed(logger, error, responseId, _count);
                    throw;
                }

                _count++;
                _finish = enumerator.Current.Finish;
                _answer?.Append(enumerator.Current.Text);
                yield return enumerator.Current;
            }
        }
    }

    public void Dispose()
    {
        if (_finish is { } finish)
        {
            ChatLog.Completed(logger, responseId, _count, finish.ToString());
        }
        else if (!_failed)
        {
            ChatLog.Abandoned(logger, responseId, _count);
        }

        if (_answer is not null)
        {
            ChatLog.Answer(logger, responseId, _answer.ToString());
        }
    }
}
