using System.Text;
using E2LLM.Samples.EdgeCluster;
using E2LLM.Samples.EdgeCluster.Fidelity;
using E2LLM.Samples.EdgeCluster.Stages;

// Each device is this same program, started with "stage" and its settings.
if (args is ["stage", .. var settings])
{
    return await StageProgram.RunAsync(StageSettings.Parse(settings));
}

if (args is ["profile", .. var profiled])
{
    return ProfileProgram.Run(profiled);
}

Console.OutputEncoding = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false);
using var stop = new CancellationTokenSource();
Console.CancelKeyPress += (_, press) =>
{
    // Unwind instead of dying, so that every stage process is ended.
    press.Cancel = true;
    stop.Cancel();
};

try
{
    return DemoOptions.TryParse(args, out DemoOptions? options, out string? problem)
        ? await (options.Fidelity ? FidelityRun.RunAsync(options, Console.Out, stop.Token) : Demo.RunAsync(options, Console.Out, stop.Token))
        : Usage(problem);
}
catch (OperationCanceledException) when (stop.IsCancellationRequested)
{
    Console.Error.WriteLine("stopped");
    return 1;
}
catch (Exception problem) when (problem is IOException or UnauthorizedAccessException or FormatException or NotSupportedException or ArgumentException)
{
    Console.Error.WriteLine($"EdgeCluster: {problem.Message}");
    return 1;
}

static int Usage(string problem)
{
    Console.Error.WriteLine($"EdgeCluster: {problem}");
    Console.Error.WriteLine(DemoOptions.Usage);
    return 2;
}
