using System.Globalization;

namespace E2LLM.Tool.CommandLine;

/// <summary>
/// How far long work is: on a terminal a bar in one line of the error stream, drawn over at most ten times a second and wiped at the end; elsewhere nothing,
/// so that a file or a program that reads the error stream finds problems there and nothing else. Not thread-safe.
/// </summary>
internal sealed class ProgressBar : IDisposable
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(100), Patience = TimeSpan.FromSeconds(1);

    private readonly TextWriter _error;
    private readonly int _columns;
    private readonly TimeProvider _time;
    private readonly long _startedAt;
    private readonly TimeSpan _patience;
    private long _drawnAt;
    private int _drawnLength;
    private string _lastPhase = "";

    /// <param name="error">Takes the bar.</param>
    /// <param name="columns">Width of the terminal; 0 where there is none.</param>
    /// <param name="time">The clock.</param>
    /// <param name="isPatient">Whether nothing is shown in the first second: what is done by then needs no bar.</param>
    public ProgressBar(TextWriter error, int columns, TimeProvider time, bool isPatient = false)
    {
        _error = error;
        _columns = columns;
        _time = time;
        _startedAt = time.GetTimestamp();
        _patience = isPatient ? Patience : TimeSpan.Zero;
    }

    public ProgressBar(ToolConsole console, bool isPatient = false)
        : this(console.Error, console.ErrorColumns, TimeProvider.System, isPatient)
    {
    }

    /// <summary>Says that <paramref name="done"/> of <paramref name="total"/> is done.</summary>
    /// <param name="done">What is done.</param>
    /// <param name="total">All there is.</param>
    /// <param name="phase">What is being done; a new one is always shown.</param>
    /// <param name="detail">What else is known.</param>
    public void Report(long done, long total, string phase, string detail = "")
    {
        if (_columns == 0 || (_drawnLength == 0 && _time.GetElapsedTime(_startedAt) < _patience))
        {
            return;
        }

        bool isNewPhase = phase != _lastPhase;
        _lastPhase = phase;
        if (isNewPhase || done >= total || _time.GetElapsedTime(_drawnAt) >= Pause)
        {
            Draw(total > 0 ? Math.Clamp((double)done / total, 0, 1) : 0, $"{phase}{detail}");
        }
    }

    /// <summary>Wipes the bar, so that what follows begins in an empty line.</summary>
    public void Dispose()
    {
        if (_drawnLength > 0)
        {
            _error.Write($"\r{new string(' ', _drawnLength)}\r");
            _drawnLength = 0;
        }
    }

    private void Draw(double fraction, string text)
    {
        // One column stays free: a full line would move the cursor to the next one on some terminals.
        int width = Math.Clamp(_columns / 3, 8, 40);
        int filled = (int)Math.Floor(fraction * width);
        string line = string.Create(CultureInfo.InvariantCulture, $"[{new string('#', filled)}{new string('.', width - filled)}] {fraction * 100,3:F0} %  {text}");
        line = line.Length < _columns ? line : line[..(_columns - 1)];
        _error.Write("\r" + line.PadRight(_drawnLength));
        _drawnLength = line.Length;
        _drawnAt = _time.GetTimestamp();
    }
}
