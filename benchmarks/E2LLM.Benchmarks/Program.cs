using System.Globalization;
using E2LLM.Benchmarks;
using E2LLM.Benchmarks.Kernels;
using E2LLM.Benchmarks.KvTransfer;

// Usage: E2LLM.Benchmarks bdn [--filter PATTERN] | kernels [TYPE,...] | paths [TYPE,...] | attention [TYPE,...] | blocks | rows | tensors | model FILE.gguf [THREADS [PROMPT_TOKENS [GENERATED_TOKENS]]] | serve FILE.gguf | kv-transfer|kv-quality OUT.md TEXT MODEL.gguf... | kv-speed OUT.md MODEL.gguf...
CultureInfo.DefaultThreadCurrentCulture = CultureInfo.InvariantCulture;
switch (args)
{
    case ["bdn", .. var options]:
        KernelSuite.Run(options);
        return 0;
    case ["kernels", .. var types]:
        MatMulBenchmark.Run(types.SelectMany(list => list.Split(',')).Select(Enum.Parse<E2LLM.TensorType>).ToArray());
        return 0;
    case ["paths", .. var types]:
        PathBenchmark.Run(types.SelectMany(list => list.Split(',')).Select(Enum.Parse<E2LLM.TensorType>).ToArray());
        return 0;
    case ["attention", .. var types]:
        AttentionBenchmark.Run(types.SelectMany(list => list.Split(',')).Select(Enum.Parse<E2LLM.KvElementType>).ToArray());
        return 0;
    case ["tensors"]:
        TensorsBenchmark.Run();
        return 0;
    case ["blocks"]:
        BlockBenchmark.Run();
        return 0;
    case ["rows"]:
        RowBenchmark.Run();
        return 0;
    case ["serve", string served]:
        ModelServer.Run(served, Console.In, Console.Out);
        return 0;
    case ["kv-transfer", string output, string text, .. var models]:
        KvTransferReport.Run(output, text, models);
        return 0;
    case ["kv-speed", string output, .. var models]:
        KvTransferReport.Run(output, null, models);
        return 0;
    case ["kv-quality", string output, string text, .. var models]:
        KvTransferReport.Run(output, text, models, speed: false);
        return 0;
    case ["model", string path, .. var rest]:
        int[] numbers = [.. rest.Select(text => int.Parse(text, CultureInfo.InvariantCulture))];
        ModelBenchmark.Run(path, numbers.ElementAtOrDefault(0) is > 0 and var t ? t : 1, numbers.ElementAtOrDefault(1) is > 0 and var p ? p : 128, numbers.ElementAtOrDefault(2) is > 0 and var g ? g : 32);
        return 0;
    default:
        Console.Error.WriteLine("Usage: E2LLM.Benchmarks bdn [--filter PATTERN] | kernels [TYPE,...] | paths [TYPE,...] | attention [TYPE,...] | blocks | rows | tensors | model FILE.gguf [THREADS [PROMPT_TOKENS [GENERATED_TOKENS]]] | serve FILE.gguf | kv-transfer|kv-quality OUT.md TEXT MODEL.gguf... | kv-speed OUT.md MODEL.gguf...");
        return 2;
}
