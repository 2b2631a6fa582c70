using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using E2LLM.Samples.EdgeCluster.Changes;
using E2LLM.Transfer;

namespace E2LLM.Samples.EdgeCluster;

/// <summary>What the user asked for on the command line.</summary>
internal sealed record DemoOptions
{
    public const string Usage = """
        usage: EdgeCluster [options]
          --model PATH       a GGUF model (default: the embedded one); with --plan-only also a shape in JSON
          --cluster PATH     devices and links in JSON (default: the embedded twelve, scaled to the model)
          --prompt TEXT      continue this text, once greedily and once sampled (default: six prompts of our own)
          --max-tokens N     tokens to generate for each prompt (default 80)
          --seed N           seed of the planner and of the sampling (default 1)
          --codec NAME       how keys and values travel: auto (default), auto-lossy, raw, lz4, byte-plane-lz4, exponent, int8, int4
          --kill STAGE@TOKEN kill the process of a stage (a device, or prefill, or decode: the first of the fastest
                             replica) when the TOKENth token has come out, or @kv: in the middle of a KV transfer;
                             every-decode, every-prefill, every: the first of each such replica, so that none is left
          --add DEVICE@TOKEN a device joins when the TOKENth token has come out: workstation, laptop-c or board-c
          --plan-only        plan, show the plan, and stop
          --fidelity         emulate slower devices, predict times by simulation, measure them, and compare
          --requests N       of --fidelity: requests served under load (default 100; 0: only requests alone)
        """;

    public static readonly string EmbeddedModel = Path.Combine(AppContext.BaseDirectory, "tinytales-3.9m-q8_0.gguf");

    public static readonly string EmbeddedCluster = Path.Combine(AppContext.BaseDirectory, "cluster.json");

    public static readonly string Newcomers = Path.Combine(AppContext.BaseDirectory, "newcomers.json");

    public string ModelPath { get; private init; } = EmbeddedModel;

    public string ClusterPath { get; private init; } = EmbeddedCluster;

    public string WorkloadPath { get; } = Path.Combine(AppContext.BaseDirectory, "workload.json");

    public string? Prompt { get; private init; }

    public int MaxTokens { get; private init; } = 80;

    public ulong Seed { get; private init; } = 1;

    public string Codec { get; private init; } = KvCodecPolicy.Auto.ToString();

    public KillOrder? Kill { get; private init; }

    public JoinOrder? Add { get; private init; }

    public bool PlanOnly { get; private init; }

    public bool Fidelity { get; private init; }

    /// <summary>Requests that <see cref="Fidelity"/> serves under load.</summary>
    public int Requests { get; private init; } = 100;

    /// <summary>Reads the arguments, or says what is wrong with them.</summary>
    public static bool TryParse(string[] args, [NotNullWhen(true)] out DemoOptions? options, [NotNullWhen(false)] out string? problem)
    {
        options = null;
        var read = new DemoOptions();
        for (int i = 0; i < args.Length; i++)
        {
            if (args[i] == "--plan-only")
            {
                read = read with { PlanOnly = true };
                continue;
            }

            if (args[i] == "--fidelity")
            {
                read = read with { Fidelity = true };
                continue;
            }

            if (args[i] is not ("--model" or "--cluster" or "--prompt" or "--max-tokens" or "--seed" or "--codec" or "--kill" or "--add" or "--requests"))
            {
                problem = $"unknown option '{args[i]}'";
                return false;
            }

            if (i + 1 == args.Length)
            {
                problem = $"{args[i]} needs a value";
                return false;
            }

            if (read.With(args[i], args[i + 1]) is not { } next)
            {
                problem = $"{args[i]} cannot be '{args[i + 1]}'";
                return false;
            }

            read = next;
            i++;
        }

        options = read;
        problem = null;
        return true;
    }

    private DemoOptions? With(string name, string value) => name switch
    {
        "--model" => File.Exists(value) ? this with { ModelPath = value } : null,
        "--cluster" => File.Exists(value) ? this with { ClusterPath = value } : null,
        "--prompt" => value.Length > 0 ? this with { Prompt = value } : null,
        "--max-tokens" => int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int count) && count > 0 ? this with { MaxTokens = count } : null,
        "--seed" => ulong.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out ulong seed) ? this with { Seed = seed } : null,
        "--requests" => int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int count) ? this with { Requests = count } : null,
        "--codec" => KvCodecPolicy.TryParse(value, out _) ? this with { Codec = value } : null,
        "--kill" => KillOrder.TryParse(value, out KillOrder? order) ? this with { Kill = order } : null,
        "--add" => JoinOrder.TryParse(value, out JoinOrder? order) ? this with { Add = order } : null,
        _ => null,
    };
}
