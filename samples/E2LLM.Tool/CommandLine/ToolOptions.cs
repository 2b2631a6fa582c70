using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;

namespace E2LLM.Tool.CommandLine;

/// <summary>Options that several commands have; each call makes a new one.</summary>
internal static class ToolOptions
{
    public static Option<string> Model() =>
        new("--model") { Description = "A GGUF file.", HelpName = "M.gguf", Required = true };

    public static Option<bool> Json() => new("--json") { Description = "One JSON value on stdout, and nothing else there." };

    public static Option<int> Threads() => Count(
        "--threads", Environment.ProcessorCount, "Threads that compute (default: all processors).");

    public static Option<KvElementType> KvType(KvElementType standard)
    {
        string[] names = Enum.GetNames<KvElementType>();
        return new("--kv")
        {
            Description = $"Element type of keys and values: {string.Join(", ", names)} (default {standard}).",
            HelpName = "TYPE",
            DefaultValueFactory = _ => standard,
            CustomParser = argument =>
            {
                int index = Array.FindIndex(names, name => name.Equals(argument.Tokens[0].Value, StringComparison.OrdinalIgnoreCase));
                if (index < 0)
                {
                    argument.AddError($"--kv '{argument.Tokens[0].Value}' is none of: {string.Join(", ", names)}.");
                    return standard;
                }

                return Enum.GetValues<KvElementType>()[index];
            },
        };
    }

    /// <summary>A whole number of at least <paramref name="least"/>.</summary>
    public static Option<int> Count(string name, int standard, string description, int least = 1) => new(name)
    {
        Description = description,
        HelpName = "N",
        DefaultValueFactory = _ => standard,
        CustomParser = argument =>
        {
            if (int.TryParse(argument.Tokens[0].Value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value) && value >= least)
            {
                return value;
            }

            argument.AddError($"{name} '{argument.Tokens[0].Value}' is not a whole number of at least {least}.");
            return standard;
        },
    };

    /// <summary>The seed of random choices, 1 where none is given.</summary>
    public static Option<ulong> Seed(string description) =>
        new("--seed") { Description = description, HelpName = "S", DefaultValueFactory = _ => 1 };

    /// <summary>Whole numbers separated by commas.</summary>
    public static Option<int[]> Numbers(string name, string description, bool required) => new(name)
    {
        Description = description,
        HelpName = "N,N,...",
        Required = required,
        CustomParser = argument => ParseNumbers(name, argument),
    };

    /// <summary>A finite number of at least zero.</summary>
    public static Option<float> Number(string name, float standard, string description) => new(name)
    {
        Description = description,
        HelpName = "X",
        DefaultValueFactory = _ => standard,
        CustomParser = argument =>
        {
            if (float.TryParse(argument.Tokens[0].Value, NumberStyles.Float, CultureInfo.InvariantCulture, out float value)
                && float.IsFinite(value) && value >= 0)
            {
                return value;
            }

            argument.AddError($"{name} '{argument.Tokens[0].Value}' is not a number of at least 0.");
            return standard;
        },
    };

    private static int[] ParseNumbers(string name, ArgumentResult argument)
    {
        string[] parts = argument.Tokens[0].Value.Split(',', StringSplitOptions.TrimEntries);
        var numbers = new int[parts.Length];
        for (int i = 0; i < parts.Length; i++)
        {
            if (!int.TryParse(parts[i], NumberStyles.None, CultureInfo.InvariantCulture, out numbers[i]))
            {
                argument.AddError($"{name}: '{parts[i]}' is not a whole number of at least 0.");
                return [];
            }
        }

        return numbers;
    }
}
