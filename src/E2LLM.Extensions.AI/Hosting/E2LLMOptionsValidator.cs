using Microsoft.Extensions.Options;

namespace E2LLM.Extensions.AI.Hosting;

/// <summary>Lets the host refuse to start with options that cannot work.</summary>
internal sealed class E2LLMOptionsValidator(string name) : IValidateOptions<E2LLMOptions>
{
    public ValidateOptionsResult Validate(string? optionsName, E2LLMOptions options)
    {
        if (optionsName != name)
        {
            return ValidateOptionsResult.Skip;
        }

        string[] faults = [.. options.Faults()];
        return faults.Length == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(faults.Select(fault => $"E2LLM{(name.Length > 0 ? $" \"{name}\"" : "")}: {fault}"));
    }
}
