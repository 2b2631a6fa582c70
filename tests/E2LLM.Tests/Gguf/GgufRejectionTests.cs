using System.Globalization;
using E2LLM.Gguf;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Gguf;

/// <summary>Rows G1 to G9 of the table of bad inputs: each is rejected as GgufFormatException that names its field, before anything of its size is allocated.</summary>
public class GgufRejectionTests
{
    private static readonly byte[] Huge = GgufBuilder.Number(long.MaxValue, 8);

    private static Dictionary<string, (string Field, Func<byte[]> Build)> Cases { get; } = BuildCases();

    public static TheoryData<string> BadFiles => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(BadFiles))]
    public void Read_BadFile_IsRejectedByName(string name)
    {
        (string field, Func<byte[]> build) = Cases[name];
        byte[] bytes = build();
        long before = GC.GetAllocatedBytesForCurrentThread();
        var error = Assert.Throws<GgufFormatException>(() => GgufFile.Read(bytes));
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.Equal(field, error.Field);
        Assert.InRange(error.Offset, 0, bytes.Length);
        Assert.True(allocated <= (2 * bytes.Length) + (1 << 20), $"{allocated} bytes allocated for a file of {bytes.Length}");
    }

    [Theory]
    [InlineData(65_000, 0)]
    [InlineData(32_770, 0)]
    [InlineData(0, 70_000)]
    [InlineData(0, 33_000)]
    [InlineData(40_000, 40_000)]
    public void Read_ThousandsOfTinyEntriesAndOneBad_AllocatesNoMoreThanTwiceTheFile(int pairs, int tensors)
    {
        var builder = new GgufBuilder { Alignment = 1 };
        builder.UInt32("general.alignment", 1);
        for (int i = 0; i < pairs; i++)
        {
            builder.Raw(i.ToString("x4", CultureInfo.InvariantCulture), 0, [1]);
        }

        for (int i = 0; i < tensors; i++)
        {
            builder.Tensor(new GgufBuilder.TensorRow(i.ToString("x5", CultureInfo.InvariantCulture), 24, [1]) { Data = [1], Offset = i < tensors - 1 ? null : 0UL });
        }

        byte[] bytes = (tensors == 0 ? builder.Bool("last", 2) : builder).Build();
        Assert.Throws<GgufFormatException>(() => GgufFile.Read(bytes.AsMemory(0, 100)));
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Throws<GgufFormatException>(() => GgufFile.Read(bytes));
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.True(allocated <= (2L * bytes.Length) + (1 << 20), $"{allocated} bytes allocated for a file of {bytes.Length}");
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(1u)]
    [InlineData(4u)]
    [InlineData(0x8000_0000u)]
    [InlineData(0x0300_0000u)]
    [InlineData(uint.MaxValue)]
    public void Read_OtherVersion_SaysWhichAreSupported(uint version)
    {
        GgufBuilder builder = TinyModel.Whole();
        builder.Version = version;
        var error = Assert.Throws<GgufFormatException>(() => GgufFile.Read(builder.Build()));
        Assert.Contains("versions 2 and 3", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Open_FileCutAtEveryByteOfTheHeader_IsRejectedAndItsHandleClosed()
    {
        GgufBuilder builder = TinyModel.Metadata().Tensor("token_embd.weight", 8, 4).Tensor("output_norm.weight", 8);
        byte[] whole = builder.Build();
        string path = Path.Combine(AppContext.BaseDirectory, "cut-file-test.gguf");
        for (int length = 0; length < builder.HeaderBytes(); length++)
        {
            File.WriteAllBytes(path, whole[..length]);
            Assert.Throws<GgufFormatException>(() => GgufFile.Open(path));

            // Where a handle were left open without sharing, this would fail.
            using FileStream exclusive = new(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
        }

        File.Delete(path);
    }

    [Fact]
    public void Read_FileCutInTheData_IsRejected()
    {
        byte[] whole = File.ReadAllBytes(Repository.PathOf("samples/models/tinytales-3.9m-q8_0.gguf"));
        using GgufFile file = GgufFile.Read(whole);
        long dataStart = file.Tensors[0].Offset;
        GgufTensor last = file.Tensors[^1];
        for (int place = 0; place < 1000; place++)
        {
            int length = (int)(dataStart + ((last.Offset + last.Bytes - 1 - dataStart) * place / 999));
            Assert.Throws<GgufFormatException>(() => GgufFile.Read(whole.AsMemory(0, length)));
        }

        using GgufFile unpadded = GgufFile.Read(whole.AsMemory(0, (int)(last.Offset + last.Bytes)));
        Assert.Equal(file.Tensors.Count, unpadded.Tensors.Count);
    }

    [Fact]
    public void OpenTensor_FileShortenedAfterOpening_IsATypedError()
    {
        string path = Path.Combine(AppContext.BaseDirectory, "shortened-file-test.gguf");
        File.WriteAllBytes(path, TinyModel.Whole().Build());
        using (GgufFile file = GgufFile.Open(path))
        {
            using (FileStream writer = new(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete))
            {
                writer.SetLength(file.Tensors[^1].Offset);
            }

            var error = Assert.Throws<GgufFormatException>(() => file.OpenTensor(file.Tensors[^1]));
            Assert.Equal("output_norm.weight", error.Field);
        }

        File.Delete(path);
    }

    [Theory]
    [InlineData(4u)]
    [InlineData(31u)]
    [InlineData(43u)]
    [InlineData(0x8000_0000u)]
    [InlineData(uint.MaxValue)]
    public void Read_TensorTypeThatTheFormatDoesNotDefine_IsNotSupported(uint type)
    {
        byte[] bytes = new GgufBuilder().Tensor(new GgufBuilder.TensorRow("strange", type, [32]) { Data = new byte[128] }).Build();
        var error = Assert.Throws<NotSupportedException>(() => GgufFile.Read(bytes));
        Assert.Contains("'strange'", error.Message, StringComparison.Ordinal);
        Assert.Contains("Q4_K", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Read_CapsBelowTheFile_RejectsWhatExceedsThem()
    {
        byte[] bytes = TinyModel.Whole().Build();
        AssertField("metadata count", GgufLimits.Default with { MaxMetadataCount = 3 });
        AssertField("tensor count", GgufLimits.Default with { MaxTensorCount = 3 });
        AssertField("tokenizer.ggml.tokens", GgufLimits.Default with { MaxArrayElementCount = 100 });
        AssertField("general.architecture", GgufLimits.Default with { MaxStringBytes = 25 }, TinyModel.Metadata(new string('x', 26)).Build());
        Assert.Contains("limit on header bytes", AssertField("tokenizer.ggml.tokens", GgufLimits.Default with { MaxHeaderBytes = 3000 }).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => GgufFile.Read(bytes, GgufLimits.Default with { MaxHeaderBytes = -1 }));
        using GgufFile fine = GgufFile.Read(bytes, GgufLimits.Untrusted);
        Assert.Equal(20, fine.Tensors.Count);

        GgufFormatException AssertField(string field, GgufLimits limits, byte[]? other = null)
        {
            var error = Assert.Throws<GgufFormatException>(() => GgufFile.Read(other ?? bytes, limits));
            Assert.Equal(field, error.Field);
            return error;
        }
    }

    private static Dictionary<string, (string Field, Func<byte[]> Build)> BuildCases()
    {
        var cases = new Dictionary<string, (string, Func<byte[]>)>();
        void Add(string name, string field, Func<GgufBuilder> build) => cases.Add(name, (field, () => build().Build()));
        GgufBuilder Spoiled(Action<GgufBuilder> spoil)
        {
            GgufBuilder builder = TinyModel.Whole();
            spoil(builder);
            return builder;
        }

        GgufBuilder Row(long[] dimensions, uint type = 0, int dataBytes = 128, uint? count = null, ulong? offset = null) => new GgufBuilder()
            .Tensor(new GgufBuilder.TensorRow("t", type, dimensions) { Data = new byte[dataBytes], DimensionCount = count, Offset = offset });

        Add("magic", "magic", () => Spoiled(builder => builder.Magic = 0x46554746));
        foreach (ulong count in new[] { ulong.MaxValue, 1UL << 31, 1UL << 32, (ulong)long.MaxValue, 65_537UL, 1_000UL })
        {
            Add($"{count} pairs", count == 1_000 ? "key 16" : "metadata count", () => Spoiled(builder => builder.PairCount = count));
        }

        foreach (ulong count in new[] { ulong.MaxValue, 1UL << 31, 1UL << 32, (ulong)long.MaxValue, (1UL << 20) + 1, 40_000UL })
        {
            Add($"{count} tensors", "tensor count", () => Spoiled(builder => builder.TensorCount = count));
        }

        Add("string longer than the file", "k", () => new GgufBuilder().Raw("k", 8, [.. Huge, 65]));
        Add("string ends one byte late", "k", () => new GgufBuilder().Raw("k", 8, [2, 0, 0, 0, 0, 0, 0, 0, 65]));
        Add("key longer than the file", "key 0", () => new GgufBuilder().RawKey(Huge, 4, [1, 0, 0, 0]));
        Add("key empty", "key 0", () => new GgufBuilder().UInt32("", 1));
        Add("key no UTF-8", "key 0", () => new GgufBuilder().RawKey([1, 0, 0, 0, 0, 0, 0, 0, 0xFF], 4, [1, 0, 0, 0]));
        Add("string no UTF-8", "k", () => new GgufBuilder().Raw("k", 8, [2, 0, 0, 0, 0, 0, 0, 0, 0xC3, 0x28]));
        Add("string of an array no UTF-8", "k", () => new GgufBuilder().Array("k", 8, 1, [1, 0, 0, 0, 0, 0, 0, 0, 0x80]));
        Add("surrogate in UTF-8", "k", () => new GgufBuilder().Raw("k", 8, [3, 0, 0, 0, 0, 0, 0, 0, 0xED, 0xA0, 0x80]));
        Add("value of unknown type", "k", () => new GgufBuilder().Raw("k", 13, new byte[16]));
        Add("value of negative type", "k", () => new GgufBuilder().Raw("k", uint.MaxValue, new byte[16]));
        Add("array of unknown type", "k", () => new GgufBuilder().Array("k", 77, 1, new byte[16]));
        Add("array of arrays", "k", () => new GgufBuilder().Array("k", 9, 1, [4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]));
        foreach (uint element in new uint[] { 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12 })
        {
            Add($"array of 2^63-1 of type {element}", "k", () => new GgufBuilder().Array("k", element, long.MaxValue, new byte[16]));
            Add($"array of type {element} one too long", "k", () => new GgufBuilder().Array("k", element, 65, new byte[64]));
        }

        Add("bool 2", "k", () => new GgufBuilder().Bool("k", 2));
        Add("bool 255 in an array", "k", () => new GgufBuilder().Array("k", 7, 3, [1, 0, 255]));
        Add("duplicate key", "general.architecture", () => Spoiled(builder => builder.String("general.architecture", "x")));
        Add("duplicate key of another type", "general.name", () => Spoiled(builder => builder.UInt32("general.name", 1)));
        Add("duplicate tensor", "output_norm.weight", () => Spoiled(builder => builder.Tensor("output_norm.weight", 8)));
        Add("tensor name empty", "name of tensor 0", () => new GgufBuilder().Tensor("", 8));
        Add("tensor name of 64 bytes", "name of tensor 0", () => new GgufBuilder().Tensor(new string('n', 64), 8));
        Add("tensor name with a zero", "name of tensor 0", () => new GgufBuilder().Tensor("a\0b", 8));
        Add("tensor name no UTF-8", "name of tensor 0", () => new GgufBuilder().Tensor(
            new GgufBuilder.TensorRow("", 0, [8]) { RawName = [1, 0, 0, 0, 0, 0, 0, 0, 0xFE], Data = new byte[32] }));

        foreach (uint alignment in new uint[] { 0, 3, 33, 1 << 17, 1u << 31, uint.MaxValue })
        {
            Add($"alignment {alignment}", "general.alignment", () => Spoiled(builder => builder.UInt32("general.alignment", alignment)));
        }

        Add("alignment as text", "general.alignment", () => Spoiled(builder => builder.String("general.alignment", "32")));
        Add("alignment of 64 bits", "general.alignment", () => Spoiled(builder => builder.Raw("general.alignment", 10, GgufBuilder.Number(32, 8))));
        Add("alignment not kept", "two", () => new GgufBuilder().UInt32("general.alignment", 64).Tensor("one", 8).Tensor("two", 8));

        foreach (uint count in new uint[] { 0, 5, 1u << 31, uint.MaxValue })
        {
            Add($"{count} dimensions", "t", () => Row([8], count: count));
        }

        long[][] shapes =
        [
            [0], [-1], [8, 0], [8, -1], [1, 1, 1, 0], [long.MinValue], [int.MaxValue], [1L << 31], [(1L << 32) + 1], [long.MaxValue], [1L << 62],
            [1L << 31, 1L << 31], [1L << 32, 1L << 31], [1L << 32, 1L << 32], [1L << 33, 1L << 31, 2], [3, 6148914691236517206], [1L << 16, 1L << 16, 1L << 16, 1L << 16],
            [1L << 62, 4], [1L << 63 >> 1, 2], [33], [32, 2], [long.MaxValue, long.MaxValue, long.MaxValue, long.MaxValue],
        ];
        foreach (long[] shape in shapes)
        {
            Add($"dimensions [{string.Join(", ", shape)}]", "t", () => Row(shape));
        }

        foreach ((uint type, long length) in new (uint, long)[] { (2, 31), (3, 33), (6, 16), (7, 1), (8, 40), (12, 255), (12, 32), (13, 128), (14, 257), (23, 32) })
        {
            Add($"row of {length} in type {type}", "t", () => Row([length], type));
        }

        Add("8 bytes an element wrap", "t", () => Row([1L << 61, 2], 28));
        foreach (ulong offset in new ulong[] { 1, 31, 32, 64, 1UL << 63, ulong.MaxValue, ulong.MaxValue - 31 })
        {
            Add($"first tensor at {offset}", "t", () => Row([32], offset: offset));
        }

        GgufBuilder Two(ulong first, ulong second) => new GgufBuilder()
            .Tensor(new GgufBuilder.TensorRow("a", 0, [16]) { Data = new byte[64], Offset = first })
            .Tensor(new GgufBuilder.TensorRow("b", 0, [16]) { Data = new byte[64], Offset = second });
        Add("overlap", "b", () => Two(0, 32));
        Add("same place", "b", () => Two(0, 0));
        Add("gap", "b", () => Two(0, 96));
        Add("unaligned", "b", () => Two(0, 65));
        Add("unsorted", "a", () => Two(64, 0));
        Add("ends one element late", "t", () => Row([33]));
        Add("sum of sizes wraps", "a", () => new GgufBuilder()
            .Tensor(new GgufBuilder.TensorRow("a", 0, [(1L << 61) - 8]) { Data = new byte[64] })
            .Tensor(new GgufBuilder.TensorRow("b", 0, [(1L << 61) - 8]) { Data = new byte[64] }));
        return cases;
    }
}
