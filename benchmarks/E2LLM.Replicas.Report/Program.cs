using System.Globalization;
using E2LLM.Replicas.Report;

// Usage: E2LLM.Replicas.Report prefill|decode|overlap FILE.gguf [ROUNDS [CUT]] [short]
CultureInfo.DefaultThreadCurrentCulture = CultureInfo.InvariantCulture;

// Where every processor computes, each thread that must first be woken to pass bytes on may wait for the scheduler's next tick: sockets hand them over on the thread that finds them.
Environment.SetEnvironmentVariable("DOTNET_SYSTEM_NET_SOCKETS_INLINE_COMPLETIONS", "1");
switch (args)
{
    case ["stage", .. var settings]:
        return await StageServer.RunAsync(StageSettings.Parse(settings));
    case ["prefill", string path, .. var rest]:
        await PipelinePart.PrefillAsync(path, Rounds(rest), Cut(rest), all: rest is not [.., "short"]);
        return 0;
    case ["decode", string path, .. var rest]:
        await PipelinePart.DecodeAsync(path, Rounds(rest), Cut(rest), all: rest is not [.., "short"]);
        return 0;
    case ["overlap", string path, .. var rest]:
        await OverlapPart.RunAsync(path, Rounds(rest));
        return 0;
    default:
        Console.Error.WriteLine("Usage: E2LLM.Replicas.Report prefill|decode|overlap FILE.gguf [ROUNDS [CUT]] [short]");
        return 2;
}

static int Rounds(string[] rest) => rest.Length > 0 ? int.Parse(rest[0], CultureInfo.InvariantCulture) : 3;

static int? Cut(string[] rest) => rest.Length > 1 && int.TryParse(rest[1], CultureInfo.InvariantCulture, out int cut) ? cut : null;
