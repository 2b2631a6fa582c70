using E2LLM.Gguf;
using E2LLM.Tests.Support;
using E2LLM.Tokenization;

namespace E2LLM.Tests.Gguf;

public class SupportedModelsTests
{
    private const string Start = "<!-- support table -->";
    private const string End = "<!-- /support table -->";

    [Fact]
    public void ToMarkdown_Readme_HasTheSameTable()
    {
        string readme = File.ReadAllText(Repository.PathOf("README.md")).ReplaceLineEndings("\n");
        int start = readme.IndexOf(Start, StringComparison.Ordinal), end = readme.IndexOf(End, StringComparison.Ordinal);
        if (start < 0 && end < 0)
        {
            Assert.DoesNotContain("| tensor types |", readme, StringComparison.Ordinal);
            return;
        }

        Assert.True(start >= 0 && end > start, $"README.md has only one of {Start} and {End}, or has them in the wrong order.");
        string table = SupportedModels.ToMarkdown();
        Assert.True(
            readme[(start + Start.Length)..end].Trim() == table.Trim(),
            $"README.md's table of what is supported is out of date. Put this between its markers:\n{table}");
    }

    [Fact]
    public void PreTokenizers_List_IsWhatTheLoaderKnows() =>
        Assert.Equal(PreTokenizers.Names.Order(StringComparer.Ordinal), SupportedModels.PreTokenizers.Order(StringComparer.Ordinal));

    [Fact]
    public void TensorTypes_List_IsWhatHasAGeometryEqualToTheFormats()
    {
        foreach (string name in SupportedModels.TensorTypes)
        {
            TensorType type = Enum.Parse<TensorType>(name);
            Assert.True(GgmlTypeTable.TryGet((uint)type, out int elements, out int bytes));
            Assert.Equal((elements, bytes), (TensorTypeGeometry.BlockElementCount(type), TensorTypeGeometry.BlockBytes(type)));
            Assert.Equal(name, GgmlTypeTable.NameOf((uint)type));
        }
    }

    [Fact]
    public void TokenizerModels_List_IsWhatTheLoaderTakes()
    {
        foreach (string model in SupportedModels.TokenizerModels)
        {
            using GgufFile file = GgufFile.Read(new GgufBuilder().String("tokenizer.ggml.model", model).Build());
            Assert.Throws<GgufFormatException>(() => TokenizerLoader.Load(file.Metadata)); // its keys are missing, but it is known
        }
    }
}
