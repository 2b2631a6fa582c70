namespace E2LLM;

/// <summary>A JSON description (cluster, model, workload, plan) is not what its format asks for. Names the place and what was expected.</summary>
public sealed class DescriptionFormatException : FormatException
{
    /// <summary>Creates the exception without a place.</summary>
    public DescriptionFormatException()
    {
    }

    /// <summary>Creates the exception without a place.</summary>
    public DescriptionFormatException(string message)
        : base(message)
    {
    }

    /// <summary>Creates the exception without a place.</summary>
    public DescriptionFormatException(string message, Exception? innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Creates the exception for the value at <paramref name="path"/>.</summary>
    public DescriptionFormatException(string path, string message, Exception? innerException = null)
        : base($"{path}: {message}", innerException) => Path = path;

    /// <summary>Where in the description, for example <c>$.devices[2].memoryBytes</c>; <c>$</c> is the whole.</summary>
    public string Path { get; } = "$";
}
