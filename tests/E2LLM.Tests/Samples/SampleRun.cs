using System.Diagnostics;
using System.Text;
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

    /// <summary>Runs any program, in a folder of its own choice, with variables set or (null) removed.</summary>
    public static async Task<SampleRun> OfProgram(
        string program, IEnumerable<string> args, string? folder = null, IReadOnlyDictionary<string, string?>? environment = null)
    {
        var start = new ProcessStartInfo(program, args)
        {
            RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false, WorkingDirectory = folder ?? "",
            StandardOutputEncoding = Encoding.UTF8, StandardErrorEncoding = Encoding.UTF8,
        };
        foreach ((string name, string? value) in environment ?? new Dictionary<string, string?>())
        {
            start.Environment[name] = value;
        }

        using Process process = Process.Start(start)!;
        using var limit = new CancellationTokenSource(Limit);
        try
        {
            Task<string> output = process.StandardOutput.ReadToEndAsync(limit.Token), error = process.StandardError.ReadToEndAsync(limit.Token);
            await process.WaitForExitAsync(limit.Token);
            return new SampleRun(process.ExitCode, (await output).ReplaceLineEndings("\n"), (await error).ReplaceLineEndings("\n"));
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw;
        }
    }

    /// <summary>Fails with all that the program said unless it ended well.</summary>
    public SampleRun Succeeded()
    {
        Assert.True(ExitCode == 0, $"exit code {ExitCode}\n{Out}\n{Error}");
        return this;
    }
}
