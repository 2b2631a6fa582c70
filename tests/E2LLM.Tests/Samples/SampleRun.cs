using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>One run of a program to its end.</summary>
internal sealed record SampleRun(int ExitCode, string Out, string Error)
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(6);

    /// <summary>Release or Debug, as these tests were built.</summary>
    public static string Configuration { get; } = new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name;

    /// <summary>The assembly of a numbered sample, for example of <c>01-GenerateText</c>.</summary>
    public static string Assembly(string sample) =>
        Repository.PathOf($"samples/{sample}/bin/{Configuration}/net10.0/{sample[(sample.IndexOf('-', StringComparison.Ordinal) + 1)..]}.dll");

    public static Task<SampleRun> Of(string sample, params string[] args) => OfProgram("dotnet", [Assembly(sample), .. args]);

    /// <summary>Runs any program with nothing to read, in a folder of its own choice, with variables set or (null) removed.</summary>
    /// <exception cref="TimeoutException">It has not ended within <paramref name="limit"/>, by default six minutes; it was ended then.</exception>
    public static async Task<SampleRun> OfProgram(
        string program, IEnumerable<string> args, string? folder = null, IReadOnlyDictionary<string, string?>? environment = null, TimeSpan? limit = null)
    {
        await using ChildProcess process = ChildProcess.Start(program, args, folder, environment);
        process.Input.Close();
        int exitCode = await process.WaitForExitAsync(limit ?? Limit);
        return new SampleRun(exitCode, process.Out.ReplaceLineEndings("\n"), process.Error.ReplaceLineEndings("\n"));
    }

    /// <summary>Fails with all that the program said unless it ended well.</summary>
    public SampleRun Succeeded()
    {
        Assert.True(ExitCode == 0, $"exit code {ExitCode}\n{Out}\n{Error}");
        return this;
    }
}
