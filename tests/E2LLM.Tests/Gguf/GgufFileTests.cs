using E2LLM.Gguf;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Gguf;

public class GgufFileTests
{
    [Theory]
    [InlineData(2u)]
    [InlineData(3u)]
    public void Read_BuiltFile_GivesEveryValueAndTensor(uint version)
    {
        GgufBuilder builder = TinyModel.Whole();
        builder.Version = version;
        using GgufFile file = GgufFile.Read(builder.Build());

        Assert.Equal((int)version, file.Version);
        Assert.Equal("llama", file.Metadata.GetString("general.architecture"));
        Assert.Equal(TinyModel.Vocabulary, file.Metadata.GetStrings("tokenizer.ggml.tokens").Count);
        Assert.Equal("\u2581a", file.Metadata.GetStrings("tokenizer.ggml.tokens")[^1]);
        Assert.Equal(-2f, file.Metadata.GetSingles("tokenizer.ggml.scores")[^1]);
        Assert.Equal(6, file.Metadata.GetInt32s("tokenizer.ggml.token_type")[3]);
        Assert.Equal(2 + (9 * TinyModel.Layers), file.Tensors.Count);
        Assert.True(file.TryGetTensor("blk.1.ffn_down.weight", out GgufTensor? down));
        Assert.Equal([TinyModel.FeedForward, TinyModel.Hidden], down.Dimensions);
        Assert.Equal(TinyModel.Hidden, down.RowCount);
        Assert.Equal(4 * TinyModel.FeedForward, down.RowBytes);
        using GgufTensorView view = file.OpenTensor(down);
        Assert.Equal(GgufBuilder.Ramp(TinyModel.FeedForward * TinyModel.Hidden)[(2 * 48)..(5 * 48)], view.Rows(2, 3).ToArray());
    }

    [Fact]
    public void Open_MappedFile_EqualsTheFileInMemory()
    {
        string path = Path.Combine(AppContext.BaseDirectory, "mapped-file-test.gguf");
        File.WriteAllBytes(path, TinyModel.Whole().Build());
        try
        {
            using GgufFile mapped = GgufFile.Open(path);
            using GgufFile inMemory = GgufFile.Read(File.ReadAllBytes(path));
            Assert.Equal(inMemory.Metadata.Keys, mapped.Metadata.Keys);
            Assert.Equal(inMemory.FileBytes, mapped.FileBytes);
            foreach ((GgufTensor a, GgufTensor b) in mapped.Tensors.Zip(inMemory.Tensors))
            {
                Assert.Equal((b.Name, b.Type, b.Offset, b.Bytes), (a.Name, a.Type, a.Offset, a.Bytes));
                using GgufTensorView viewA = mapped.OpenTensor(a);
                using GgufTensorView viewB = inMemory.OpenTensor(b);
                Assert.Equal(viewB.Rows(0, (int)b.RowCount).ToArray(), viewA.Rows(0, (int)a.RowCount).ToArray());
            }
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void OpenTensor_FileOutlived_ViewStaysReadableUntilItIsDisposed()
    {
        string path = Path.Combine(AppContext.BaseDirectory, "outlived-file-test.gguf");
        File.WriteAllBytes(path, TinyModel.Whole().Build());
        try
        {
            GgufFile file = GgufFile.Open(path);
            GgufTensorView view = file.OpenTensor(file.Tensors[0]);
            file.Dispose();
            Assert.Equal(GgufBuilder.Ramp(8)[..32], view.Rows(0, 1).ToArray());
            view.Dispose();
            Assert.Throws<ObjectDisposedException>(() => view.Rows(0, 1).Length);
            Assert.Throws<ObjectDisposedException>(() => file.OpenTensor(file.Tensors[0]));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Theory]
    [InlineData(-1, 1)]
    [InlineData(0, -1)]
    [InlineData(262, 1)]
    [InlineData(261, 2)]
    [InlineData(long.MaxValue, 1)]
    public void Rows_OutsideTheTensor_Throws(long first, int count)
    {
        using GgufFile file = GgufFile.Read(TinyModel.Whole().Build());
        using GgufTensorView view = file.OpenTensor(file.Tensors[0]);
        Assert.Throws<ArgumentOutOfRangeException>(() => view.Rows(first, count).Length);
    }

    [Fact]
    public void OpenTensor_OfAnotherFile_Throws()
    {
        using GgufFile one = GgufFile.Read(TinyModel.Whole().Build());
        using GgufFile other = GgufFile.Read(TinyModel.Whole().Build());
        Assert.Throws<ArgumentException>(() => one.OpenTensor(other.Tensors[0]));
    }
}
