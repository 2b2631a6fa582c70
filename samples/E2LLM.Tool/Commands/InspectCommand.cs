using System.CommandLine;
using E2LLM.Gguf;
using E2LLM.Tool.CommandLine;

namespace E2LLM.Tool.Commands;

/// <summary><c>e2llm inspect</c>: what a GGUF file holds, read from its header alone.</summary>
internal static class InspectCommand
{
    public static Command Create(ToolConsole console)
    {
        Option<string> model = ToolOptions.Model();
        Option<bool> json = ToolOptions.Json();
        var command = new Command("inspect", "Shows a model's architecture, sizes, tensor types and tokenizer.") { model, json };
        command.SetAction(parsed => Run(console, parsed.GetRequiredValue(model), parsed.GetValue(json)));
        return command;
    }

    private static int Run(ToolConsole console, string path, bool json)
    {
        using GgufFile file = GgufFile.Open(path);
        ModelInspection model = ModelInspector.Inspect(file);
        if (model.Shape is { } shape)
        {
            Write(console, file, model, shape, json);
        }

        if (model.IsSupported)
        {
            return 0;
        }

        console.Error.WriteLine($"e2llm: {string.Join(' ', model.Problems)}");
        return 1;
    }

    private static void Write(ToolConsole console, GgufFile file, ModelInspection model, ModelShape shape, bool json)
    {
        if (json)
        {
            console.WriteJson(writer =>
            {
                writer.WriteStartObject();
                writer.WriteString("architecture", shape.Architecture);
                writer.WriteNumber("layerCount", shape.LayerCount);
                writer.WriteNumber("hiddenSize", shape.HiddenSize);
                writer.WriteNumber("vocabularySize", shape.VocabularySize);
                writer.WriteNumber("contextLength", shape.ContextLength);
                writer.WriteStartObject("tensorTypes");
                foreach ((string type, int count) in model.TensorTypes)
                {
                    writer.WriteNumber(type, count);
                }

                writer.WriteEndObject();
                writer.WriteNumber("fileBytes", file.FileBytes);
                writer.WriteString("tokenizer", model.Tokenizer.Split('/')[0]);
                writer.WriteEndObject();
            });
            return;
        }

        console.Out.WriteLine($"{shape.Name} ({shape.Architecture}, GGUF v{file.Version}, {file.FileBytes:N0} bytes)");
        console.Out.WriteLine($"  layers      {shape.LayerCount} of hidden size {shape.HiddenSize}, feed-forward {shape.FeedForwardSize}");
        console.Out.WriteLine($"  attention   {shape.HeadCount} heads of {shape.HeadDim}, {shape.KvHeadCount} for keys and values");
        console.Out.WriteLine($"  context     {shape.ContextLength} tokens, rope base {shape.RopeTheta}");
        console.Out.WriteLine($"  vocabulary  {shape.VocabularySize} tokens, tokenizer {model.Tokenizer}, head {(shape.TiedHead ? "tied to the embedding" : "of its own")}");
        foreach (var type in file.Tensors.GroupBy(tensor => tensor.TypeName).OrderByDescending(group => group.Sum(tensor => tensor.Bytes)))
        {
            console.Out.WriteLine($"  {type.Key,-10}  {type.Count()} tensors, {type.Sum(tensor => tensor.Bytes):N0} bytes");
        }
    }
}
