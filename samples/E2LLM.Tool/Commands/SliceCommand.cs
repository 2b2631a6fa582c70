using System.CommandLine;
using System.Globalization;
using E2LLM.Gguf;
using E2LLM.Tool.CommandLine;

namespace E2LLM.Tool.Commands;

/// <summary><c>e2llm slice</c>: the part of a model that one stage needs, as a file of its own.</summary>
internal static class SliceCommand
{
    public static Command Create(ToolConsole console)
    {
        Option<string> model = ToolOptions.Model();
        var layers = new Option<string>("--layers") { Description = "Layers of the stage, A:B from A up to but not B. Layer 0 brings the embedding, the last layer the head.", HelpName = "A:B", Required = true };
        var output = new Option<string>("--out") { Description = "File to write; must not exist.", HelpName = "F.gguf", Required = true };
        var command = new Command("slice", "Writes the part of a model that one stage needs: valid GGUF with the whole model's identity.") { model, layers, output };
        command.SetAction((parsed, ct) => Task.FromResult(Run(console, parsed.GetRequiredValue(model), parsed.GetRequiredValue(layers), parsed.GetRequiredValue(output), ct)));
        return command;
    }

    private static int Run(ToolConsole console, string path, string layersText, string output, CancellationToken ct)
    {
        using GgufFile file = GgufFile.Open(path);
        ModelShape shape = ModelShapeReader.Read(file);
        LayerRange layers = Parse(layersText, shape.LayerCount);
        bool embedding = layers.Start == 0, head = layers.End == shape.LayerCount;
        long bytes;
        using (var stream = new FileStream(output, FileMode.CreateNew, FileAccess.Write))
        {
            try
            {
                bytes = GgufSlicer.Write(file, layers, embedding, head, stream, ct);
            }
            catch
            {
                // Half a slice is of no use to anyone.
                File.Delete(output);
                throw;
            }
        }

        console.Out.WriteLine($"{output}: layers {layers}{(embedding ? ", embedding" : "")}{(head ? ", head" : "")}; {bytes:N0} of {file.FileBytes:N0} bytes");
        return 0;
    }

    private static LayerRange Parse(string text, int layerCount)
    {
        string[] parts = text.Split(':');
        return parts.Length == 2 && Number(parts[0], out int start) && Number(parts[1], out int end) && start < end && end <= layerCount
            ? new LayerRange(start, end)
            : throw new UsageException($"--layers '{text}' is not A:B with 0 <= A < B <= {layerCount}, the model's layers.");

        static bool Number(string part, out int number) => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out number);
    }
}
