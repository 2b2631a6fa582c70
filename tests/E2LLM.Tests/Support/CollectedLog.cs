using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace E2LLM.Tests.Support;

/// <summary>Everything logged, as a factory and as a provider.</summary>
internal sealed class CollectedLog : ILoggerFactory, ILoggerProvider
{
    private readonly ConcurrentQueue<LogEntry> _entries = [];

    public IReadOnlyList<LogEntry> All => [.. _entries];

    public IReadOnlyList<LogEntry> Of(int id) => [.. _entries.Where(entry => entry.Id == id)];

    /// <summary>Waits for an event that comes from another thread.</summary>
    public async Task<LogEntry> WaitAsync(int id)
    {
        for (int i = 0; i < 1000 && Of(id).Count == 0; i++)
        {
            await Task.Delay(10);
        }

        return Assert.Single(Of(id).Take(1));
    }

    public ILogger CreateLogger(string categoryName) => new Logger(categoryName, _entries);

    public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException();

    public void Dispose()
    {
    }

    private sealed class Logger(string category, ConcurrentQueue<LogEntry> entries) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            entries.Enqueue(new LogEntry(eventId.Id, category, logLevel, formatter(state, exception), exception));
    }
}

/// <summary>One event of a log.</summary>
internal sealed record LogEntry(int Id, string Category, LogLevel Level, string Text, Exception? Error);
