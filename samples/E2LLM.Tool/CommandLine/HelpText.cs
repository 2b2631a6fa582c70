using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.Text.RegularExpressions;

namespace E2LLM.Tool.CommandLine;

/// <summary>The help of a command: what it does, its options, and calls to copy.</summary>
internal sealed partial class HelpText : SynchronousCommandLineAction
{
    private static readonly Dictionary<string, string> Notes = new(StringComparer.Ordinal)
    {
        ["e2llm"] = """
            First steps:
              e2llm inspect --model M.gguf                      is the model supported, how large is it?
              e2llm generate --model M.gguf --prompt "Once"     let it write
              e2llm chat --model M.gguf                         talk to it
              e2llm bench --model M.gguf                        how fast is it on this machine?

            A cluster, before anything is installed on it:
              e2llm profile --model M.gguf --out device.json    on each device: an entry for cluster.json
              e2llm plan --cluster C.json --model M.gguf --workload W.json --out P.json
              e2llm simulate --plan P.json --cluster C.json --model M.gguf --workload W.json

            Results go to stdout, everything else to stderr; --json gives one JSON value. Exit codes: 0 it worked, 1 it failed (one line on stderr says why),
            2 wrong usage. Ctrl-C ends any command. 'e2llm COMMAND --help' tells more.
            """,
        ["inspect"] = """
            Examples:
              e2llm inspect --model M.gguf
              e2llm inspect --model M.gguf --json

            Weights are not loaded: a file of any size takes a moment. What E2LLM does not support is named.
            """,
        ["tokenize"] = """
            Examples:
              e2llm tokenize --model M.gguf --text "Once upon a time"
              e2llm tokenize --model M.gguf --file story.txt --json
            """,
        ["detokenize"] = """
            Example:
              e2llm detokenize --model M.gguf --ids 1,402,73
            """,
        ["logits"] = """
            Example: five best tokens after three ids, with the model cut into two executors at layer 3
              e2llm logits --model M.gguf --ids 1,402,73 --top 5 --split 3
            """,
        ["generate"] = """
            Examples:
              e2llm generate --model M.gguf --prompt "Once upon a time"
              e2llm generate --model M.gguf --prompt "Once upon a time" --temperature 0.8 --seed 7
              e2llm generate --model M.gguf --prompt "Once upon a time" --json | jq -r .text

            The prompt is continued as plain text. For an instruction model that expects a chat template, use 'e2llm chat'.
            The same seed gives the same text, whatever --threads is.
            """,
        ["chat"] = """
            Examples:
              e2llm chat --model M.gguf
              e2llm chat --model M.gguf --system "You answer in one sentence." --temperature 0.3

            One line is one turn. Ctrl-C stops an answer; while you type it leaves. /clear forgets the conversation, /exit or the end of the input leaves.
            A model without a chat template continues the conversation as plain text.
            """,
        ["perplexity"] = """
            Example:
              e2llm perplexity --model M.gguf --file text.txt

            Lower is better. Figures compare only for the same text, window and tokenizer.
            """,
        ["bench"] = """
            Examples:
              e2llm bench --model M.gguf
              e2llm bench --model M.gguf --depth 2048 --batch 8 --repeat 3

            Prefill (reading a prompt) is bound by arithmetic, decode (writing) by memory bandwidth. Leave the machine alone meanwhile.
            """,
        ["profile"] = """
            Example, on each device:
              e2llm profile --model M.gguf --name kitchen-pc --out kitchen-pc.json

            Two layers of the model are measured, so it may be larger than the device. Put what is printed into "devices" of a cluster file.
            """,
        ["slice"] = """
            Example: the upper half of a model with 32 layers, for a device that holds no more
              e2llm slice --model M.gguf --layers 16:32 --out upper.gguf

            Saves disk and download on small devices; a stage loads from the slice what it would from the whole file.
            """,
        ["plan"] = """
            Examples:
              e2llm plan --cluster C.json --model M.gguf --workload W.json --out P.json --svg P.svg
              e2llm plan --cluster C.json --model M.gguf --workload W.json --replan P.json --lost kitchen-pc

            Short descriptions to begin with; the planning guide, src/E2LLM/Planning/README.md in the repository, explains them.
              C.json: {"devices": [{"name": "pc", "memoryBytes": 16e9, "computeFlopsPerSecond": 2e12, "memoryBytesPerSecond": 6e10},
                                   {"name": "laptop", "memoryBytes": 8e9, "computeFlopsPerSecond": 8e11, "memoryBytesPerSecond": 3e10}],
                       "links": {"default": {"bytesPerSecond": 1.2e8, "roundTripSeconds": 0.001}}}
              W.json: {"arrivals": {"kind": "poisson", "requestsPerSecond": 0.5},
                       "promptTokens": {"kind": "fixed", "value": 300}, "outputTokens": {"kind": "fixed", "value": 100}}
            """,
        ["simulate"] = """
            Examples:
              e2llm simulate --plan P.json --cluster C.json --model M.gguf --workload W.json --report report.html
              e2llm simulate --plan P.json --cluster C.json --model S.json --workload trace.csv --trace-out timeline.json

            Prints rates, and in seconds the means with their 95 % intervals and the percentiles of waiting, first token, time per token and end to end; then how
            busy each stage is. The same seed gives the same report, byte for byte.
            """,
    };

    private readonly HelpAction _standard = new();

    public override bool ClearsParseErrors => true;

    /// <summary>Commands that have notes; a test holds that all do.</summary>
    internal static IReadOnlyCollection<string> Documented => Notes.Keys;

    /// <summary>Gives a command line this help instead of the standard one.</summary>
    public static void Use(RootCommand root) => root.Options.OfType<HelpOption>().Single().Action = new HelpText();

    public override int Invoke(ParseResult parseResult)
    {
        InvocationConfiguration configuration = parseResult.InvocationConfiguration;
        TextWriter output = configuration.Output;
        using var text = new StringWriter { NewLine = "\n" };
        configuration.Output = text;
        int code = _standard.Invoke(parseResult);
        configuration.Output = output;

        // Our descriptions say what the defaults mean; the standard text repeats their values.
        output.WriteLine(RepeatedDefault().Replace(text.ToString(), "").TrimEnd());
        Command command = parseResult.CommandResult.Command;
        if (Notes.TryGetValue(command is RootCommand ? "e2llm" : command.Name, out string? notes))
        {
            output.WriteLine();
            output.WriteLine(notes.ReplaceLineEndings("\n"));
        }

        return code;
    }

    [GeneratedRegex(@"\s\[default:\s[^\]]*\]")]
    private static partial Regex RepeatedDefault();
}
