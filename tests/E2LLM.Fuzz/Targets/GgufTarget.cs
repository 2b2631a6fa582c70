using E2LLM.Gguf;
using E2LLM.Tests.Support;
using E2LLM.Tokenization;

namespace E2LLM.Fuzz.Targets;

/// <summary>
/// Mutated GGUF files: reader, shape, inspector, tensor views and tokenizer. Whatever the bytes, only GgufFormatException and
/// NotSupportedException come out, and the reader allocates at most twice the file and 1 MiB.
/// </summary>
internal sealed class GgufTarget : IFuzzTarget
{
    private readonly List<(byte[] Bytes, IReadOnlyList<(int Offset, int Bytes)> Fields)> _seeds;

    public GgufTarget()
    {
        GgufBuilder aligned = TinyModel.Metadata("qwen2").UInt32("general.alignment", 64).Tensor("token_embd.weight", 8, 4).Tensor("b", 3, 2, 2, 2);
        aligned.Alignment = 64;
        aligned.Version = 2;
        GgufBuilder[] builders =
        [
            TinyModel.Whole(),
            aligned,
            TinyModel.Metadata().Tensor(new GgufBuilder.TensorRow("q", 8, [64, 2]) { Data = new byte[136] })
                .Tensor(new GgufBuilder.TensorRow("k", 12, [256]) { Data = new byte[144] }),
            new GgufBuilder().Int32s("a", 1, 2, 3).Singles("b", 1, 2).Strings("c", "x", "", "yz").Bool("d", 1)
                .Raw("e", 12, new byte[8]).Raw("f", 0, [1]).Array("g", 7, 3, [0, 1, 0]),
            TinyBpe.Vocabulary("llama-bpe"),
        ];
        _seeds = [.. builders.Select(builder => (builder.Build(), builder.Fields))];
    }

    public string Name => "gguf";

    public byte[] CreateInput(Random random)
    {
        (byte[] bytes, IReadOnlyList<(int Offset, int Bytes)> fields) = _seeds[random.Next(_seeds.Count)];
        return ByteMutator.Mutate(bytes, fields, random);
    }

    public bool Check(byte[] input)
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        GgufFile? file = Try(() => GgufFile.Read(input, GgufLimits.Untrusted));
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        if (allocated > (2L * input.Length) + (1 << 20))
        {
            throw new FuzzFailureException($"{allocated} bytes allocated for {input.Length} bytes of input.");
        }

        if (file is null)
        {
            return false;
        }

        using (file)
        {
            CheckTensors(file, input);
            bool supported = ModelInspector.Inspect(file).IsSupported;
            bool loads = Try(() => ModelShapeReader.Read(file)) is not null;
            if (supported && !loads)
            {
                throw new FuzzFailureException("The inspector sees no problem, but the shape does not load.");
            }

            if (Try(() => TokenizerLoader.Load(file.Metadata)) is ITokenizer tokenizer)
            {
                tokenizer.Decode(tokenizer.Encode("a <s> b\u00E9\uD83E\uDD99", addBos: true, parseSpecial: true));
            }
        }

        return true;
    }

    private static void CheckTensors(GgufFile file, byte[] input)
    {
        foreach (GgufTensor tensor in file.Tensors)
        {
            using GgufTensorView view = file.OpenTensor(tensor);
            ReadOnlySpan<byte> last = view.Rows(tensor.RowCount - 1, 1);
            if (!last.SequenceEqual(input.AsSpan((int)(tensor.Offset + tensor.Bytes - tensor.RowBytes), (int)tensor.RowBytes)))
            {
                throw new FuzzFailureException($"The last row of '{tensor.Name}' is not where the table says.");
            }
        }
    }

    private static T? Try<T>(Func<T> read)
        where T : class
    {
        try
        {
            return read();
        }
        catch (Exception error) when (error is GgufFormatException or NotSupportedException)
        {
            return null;
        }
    }
}
