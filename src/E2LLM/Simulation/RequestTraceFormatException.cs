namespace E2LLM.Simulation;

/// <summary>A request trace is not what its format asks for. Names the line and the column, both counted from 1.</summary>
public sealed class RequestTraceFormatException : FormatException
{
    /// <summary>Creates the exception without a place.</summary>
    public RequestTraceFormatException()
    {
    }

    /// <summary>Creates the exception without a place.</summary>
    public RequestTraceFormatException(string message)
        : base(message)
    {
    }

    /// <summary>Creates the exception without a place.</summary>
    public RequestTraceFormatException(string message, Exception? innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Creates the exception for a place in a trace.</summary>
    public RequestTraceFormatException(long line, int column, string message, Exception? innerException = null)
        : base($"line {line}, column {column}: {message}", innerException) => (Line, Column) = (line, column);

    /// <summary>Line, from 1; 0 where unknown.</summary>
    public long Line { get; }

    /// <summary>Character in the line, from 1; 0 where unknown.</summary>
    public int Column { get; }
}
