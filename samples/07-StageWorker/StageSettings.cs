using System.Net;
using Microsoft.Extensions.Options;

namespace E2LLM.Samples.StageWorker;

/// <summary>What this device has to know. Bound from the section <c>Stage</c> of the configuration.</summary>
internal sealed class StageSettings
{
    /// <summary>Name of this device in the plan; also the name in its certificate.</summary>
    public string Name { get; set; } = "";

    /// <summary>The model's GGUF file. Every device needs the file, and reads its own layers only.</summary>
    public string Model { get; set; } = "";

    /// <summary>The plan, as <c>e2llm plan --out</c> writes it.</summary>
    public string Plan { get; set; } = "";

    /// <summary>Address and port to listen on.</summary>
    public string Listen { get; set; } = "0.0.0.0:7070";

    /// <summary>Where the other devices listen: name to <c>host:port</c>.</summary>
    public Dictionary<string, string> Peers { get; } = new(StringComparer.Ordinal);

    /// <summary>This device's certificate (PEM), for its name; used as server and as client.</summary>
    public string Certificate { get; set; } = "";

    /// <summary>Its private key (PEM).</summary>
    public string Key { get; set; } = "";

    /// <summary>The authority (PEM) that signs all devices' certificates; nothing else is trusted.</summary>
    public string Authority { get; set; } = "";

    /// <summary>Memory for keys and values in bytes; 0 leaves the choice to the library.</summary>
    public long KvBytes { get; set; }
}

/// <summary>Names every setting that cannot work before anything is loaded.</summary>
internal sealed class StageSettingsValidator : IValidateOptions<StageSettings>
{
    public ValidateOptionsResult Validate(string? name, StageSettings options)
    {
        var wrong = new List<string>();
        if (options.Name.Length == 0)
        {
            wrong.Add("Stage:Name is required: the name of this device in the plan.");
        }

        foreach ((string setting, string path) in new[]
        {
            ("Model", options.Model), ("Plan", options.Plan), ("Certificate", options.Certificate), ("Key", options.Key), ("Authority", options.Authority),
        })
        {
            if (!File.Exists(path))
            {
                wrong.Add($"Stage:{setting} names no file: '{path}'.");
            }
        }

        if (!IPEndPoint.TryParse(options.Listen, out _))
        {
            wrong.Add($"Stage:Listen '{options.Listen}' is not ADDRESS:PORT, for example 0.0.0.0:7070.");
        }

        foreach ((string peer, string address) in options.Peers.Where(peer => !PeerAddress.TryParse(peer.Value, out _)))
        {
            wrong.Add($"Stage:Peers:{peer} '{address}' is not HOST:PORT.");
        }

        if (options.KvBytes < 0)
        {
            wrong.Add($"Stage:KvBytes {options.KvBytes} is negative.");
        }

        return wrong.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(wrong);
    }
}
