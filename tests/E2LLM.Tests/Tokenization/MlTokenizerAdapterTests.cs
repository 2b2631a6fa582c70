using System.Text;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Tokenization;

public class MlTokenizerAdapterTests
{
    [Fact]
    public void Readme_Snippet_IsTheCompiledAdapter()
    {
        string readme = File.ReadAllText(Repository.PathOf("src/E2LLM/Tokenization/README.md")).ReplaceLineEndings("\n");
        string adapter = File.ReadAllText(Repository.PathOf("tests/E2LLM.Tests/Tokenization/MlTokenizerAdapter.cs")).ReplaceLineEndings("\n");
        string code = adapter[adapter.IndexOf("/// <summary>", StringComparison.Ordinal)..].Trim();
        Assert.True(
            readme.Contains($"```csharp\nusing E2LLM;\nusing Microsoft.ML.Tokenizers;\n\n{code}\n```", StringComparison.Ordinal),
            "The README's adapter is not the compiled one.");
        Assert.InRange(code.Split('\n').Count(line => line.Trim() is not ("" or "{" or "}")), 10, 40);
    }

    [Fact]
    public void Append_OneByteATime_GivesWholeCharacters()
    {
        ITokenizer tokenizer = new MlTokenizer(new Bytes(), 256, bosId: 7, addsBos: true, 0);
        Assert.Equal([7, 0x61], tokenizer.Encode("a"));
        ITokenDecoder decoder = tokenizer.CreateDecoder();
        string[] parts = [.. tokenizer.Encode("a\u00E9\U0001F999", addBos: false).Select(decoder.Append)];
        Assert.Equal(["a", "", "\u00E9", "", "", "", "\U0001F999"], parts);
        Assert.Equal(string.Empty, decoder.Flush());
    }

    private sealed class Bytes : Tokenizer
    {
        public override IReadOnlyList<int> EncodeToIds(string text, bool considerPreTokenization = true, bool considerNormalization = true) =>
            [.. Encoding.UTF8.GetBytes(text).Select(value => (int)value)];

        public override string? Decode(IEnumerable<int> ids) => Encoding.UTF8.GetString([.. ids.Select(id => (byte)id)]);
    }
}
