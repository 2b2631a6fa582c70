using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Tests.Samples;
using E2LLM.Tests.Support;
using E2LLM.Weights;

namespace E2LLM.Tests.Weights;

/// <summary>Parts of a model as files and streams of their own.</summary>
public sealed class SliceTests
{
    public static TheoryData<string> Families() => ["llama with factors", "qwen2, tied", "qwen3"];

    [Theory]
    [MemberData(nameof(Families))]
    public void Slices_OfEveryFamily_ComputeWhatTheWholeDoes(string family)
    {
        ModelShape shape = family[..5] switch { "llama" => RandomModel.Llama(factors: true), "qwen2" => RandomModel.Qwen2(), _ => RandomModel.Qwen3() };
        using GgufFile file = GgufFile.Read(new RandomModel(shape, 3).File());
        ModelIdentity identity = ModelIdentityReader.Read(file);
        ModelShape whole = identity.Shape;
        foreach (bool streamed in new[] { false, true })
        {
            float[] logits = [], hidden = [];
            foreach ((LayerRange layers, bool embedding, bool head) in new[] { (new LayerRange(0, 1), true, false), (new LayerRange(1, 2), false, false), (new LayerRange(2, 2), false, true) })
            {
                byte[] slice = Slice(file, layers, embedding, head);
                using GgufFile opened = GgufFile.Read(slice);
                ModelIdentity kept = ModelIdentityReader.Read(opened);
                ModelWeights weights = streamed
                    ? ModelWeights.Load(new OneWayStream(slice), out kept)
                    : ModelWeights.Load(opened, ModelShapeReader.Read(opened), layers, embedding, head);
                using (weights)
                {
                    Assert.Empty(identity.DifferencesFrom(kept));
                    Assert.Equal((layers, embedding, head), (weights.Layers, weights.HasEmbedding, weights.HasHead));
                    Assert.Equal(weights.Memory.TotalBytes, weights.AllocatedBytes);
                    Run(weights, ref hidden, ref logits);
                }
            }

            float[] expectedLogits = [], expectedHidden = [];
            using ModelWeights all = ModelWeights.Load(file, whole, new LayerRange(0, 2), true, true);
            Run(all, ref expectedHidden, ref expectedLogits);
            Assert.Equal(expectedLogits, logits);
        }
    }

    [Fact]
    public async Task SliceCommand_OwnModel_WritesFilesOfAboutTheirShare()
    {
        string folder = Directory.CreateTempSubdirectory("e2llm-slice").FullName;
        try
        {
            using GgufFile whole = GgufFile.Open(ToolRun.Q8Model);
            int layers = ModelShapeReader.Read(whole).LayerCount;
            long header = whole.Tensors[0].Offset, sum = 0;
            string[] cuts = ["0:1", $"1:{layers - 1}", $"{layers - 1}:{layers}"];
            foreach (string cut in cuts)
            {
                string path = Path.Combine(folder, cut.Replace(':', '-') + ".gguf");
                ToolRun run = await ToolRun.Of("slice", "--model", ToolRun.Q8Model, "--layers", cut, "--out", path);
                Assert.True(run.ExitCode == 0, run.Error);
                using GgufFile slice = GgufFile.Open(path);
                ModelIdentity identity = ModelIdentityReader.Read(slice);
                Assert.Empty(ModelIdentityReader.Read(whole).DifferencesFrom(identity));
                Assert.InRange(slice.Tensors[0].Offset, header / 2, header + 1024);
                sum += slice.Tensors.Sum(tensor => tensor.Bytes);
                Assert.InRange(slice.FileBytes, 1, slice.Tensors.Sum(tensor => tensor.Bytes + 31) + header + 1024);
                Assert.Equal(1, (await ToolRun.Of("slice", "--model", path, "--layers", "0:1", "--out", path + "2")).ExitCode);
                Assert.Equal(1, (await ToolRun.Of("slice", "--model", ToolRun.Q8Model, "--layers", cut, "--out", path)).ExitCode);
            }

            // Every tensor is in exactly one slice; only a tied embedding is in two.
            GgufTensor embedding = whole.Tensors.Single(tensor => tensor.Name == "token_embd.weight");
            bool tied = !whole.TryGetTensor("output.weight", out _);
            Assert.Equal(whole.Tensors.Sum(tensor => tensor.Bytes) + (tied ? embedding.Bytes : 0), sum);
            Assert.Equal(2, (await ToolRun.Of("slice", "--model", ToolRun.Q8Model, "--layers", $"0:{layers + 1}", "--out", Path.Combine(folder, "x"))).ExitCode);
            Assert.Equal(3, Directory.GetFiles(folder).Length);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void Load_TruncatedStream_IsAGgufFormatException()
    {
        byte[] slice = Small();
        for (int length = 0; length < slice.Length - 31; length += length < 3000 ? 1 : 37)
        {
            Assert.Throws<GgufFormatException>(() => ModelWeights.Load(new OneWayStream(slice[..length]), out _));
        }
    }

    [Fact]
    public void Load_DamagedData_IsFoundByTheChecksum()
    {
        byte[] slice = Small();
        using GgufFile file = GgufFile.Read(slice);
        foreach (GgufTensor tensor in file.Tensors)
        {
            byte[] bent = slice.ToArray();
            bent[tensor.Offset + (tensor.Bytes / 2)] ^= 4;
            GgufFormatException thrown = Assert.Throws<GgufFormatException>(() => ModelWeights.Load(new OneWayStream(bent), out _));
            Assert.Contains("checksum", thrown.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Load_BitsOfTheHeaderFlipped_AreRefusedOrKeepTheModel()
    {
        byte[] slice = Small();
        using GgufFile file = GgufFile.Read(slice);
        var random = new Random(4);
        for (int i = 0; i < 200; i++)
        {
            byte[] bent = slice.ToArray();
            bent[random.Next((int)file.Tensors[0].Offset)] ^= (byte)(1 << random.Next(8));
            try
            {
                using ModelWeights weights = ModelWeights.Load(new OneWayStream(bent), out _);
            }
            catch (Exception error) when (error is GgufFormatException or NotSupportedException)
            {
            }
        }
    }

    [Fact]
    public void Load_StreamThatGoesOn_IsReadToTheLastByteOfTheFile()
    {
        byte[] slice = Small();
        var stream = new OneWayStream([.. slice, 1, 2, 3]);
        using ModelWeights weights = ModelWeights.Load(stream, out _, slice.Length);
        byte[] rest = new byte[64];
        int left = stream.ReadAtLeast(rest, rest.Length, throwOnEndOfStream: false);
        Assert.Equal([1, 2, 3], rest[..left]);
    }

    [Fact]
    public void Load_WholeModelFromAStream_IsTheModel()
    {
        using GgufFile file = GgufFile.Open(ToolRun.Q8Model);
        using ModelWeights weights = ModelWeights.Load(new OneWayStream(File.ReadAllBytes(ToolRun.Q8Model)), out ModelIdentity identity);
        Assert.Empty(ModelIdentityReader.Read(file).DifferencesFrom(identity));
        Assert.True(weights is { HasEmbedding: true, HasHead: true });
    }

    [Fact]
    public void Write_LayersBeyondTheModel_IsTheCallersMistake()
    {
        using GgufFile file = GgufFile.Read(new RandomModel(RandomModel.Llama(), 1).File());
        Assert.Throws<ArgumentOutOfRangeException>(() => GgufSlicer.Write(file, new LayerRange(1, 3), false, false, Stream.Null));
    }

    internal static byte[] Slice(GgufFile file, LayerRange layers, bool embedding, bool head)
    {
        using var output = new MemoryStream();
        Assert.Equal(GgufSlicer.Write(file, layers, embedding, head, output), output.Length);
        return output.ToArray();
    }

    private static byte[] Small()
    {
        using GgufFile file = GgufFile.Read(new RandomModel(RandomModel.Llama(), 1).File());
        return Slice(file, new LayerRange(1, 2), false, true);
    }

    private static void Run(ModelWeights weights, ref float[] hidden, ref float[] logits)
    {
        using var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = 1, KvElementType = KvElementType.F32, KvBlockCount = 4 });
        int[] ids = [1, 7, 3, 22, 9];
        if (weights.HasEmbedding)
        {
            hidden = new float[ids.Length * weights.Shape.HiddenSize];
            executor.Embed(ids, hidden);
        }

        using KvCache sequence = executor.CreateSequence();
        executor.Forward([new SequenceSlice(sequence, ids.Length)], hidden);
        if (weights.HasHead)
        {
            logits = new float[ids.Length * weights.Shape.VocabularySize];
            executor.ComputeLogits(hidden, logits);
        }
    }

    /// <summary>Bytes that come once, a few at a time.</summary>
    internal sealed class OneWayStream(byte[] bytes) : Stream
    {
        private int _position;

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

        public override int Read(Span<byte> buffer)
        {
            int count = Math.Min(Math.Min(buffer.Length, 1000), bytes.Length - _position);
            bytes.AsSpan(_position, count).CopyTo(buffer);
            _position += count;
            return count;
        }

        public override void Flush() => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
