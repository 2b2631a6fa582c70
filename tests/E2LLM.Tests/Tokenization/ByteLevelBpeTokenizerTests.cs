using E2LLM.Gguf;
using E2LLM.Tests.Support;
using E2LLM.Tokenization;

namespace E2LLM.Tests.Tokenization;

public class ByteLevelBpeTokenizerTests
{
    [Theory]
    [InlineData("llama-bpe")]
    [InlineData("qwen2")]
    public void Encode_PublishedVocabulary_EqualsItsOutFile(string name)
    {
        if (SharedData.Find($"models/vocab/ggml-vocab-{name}.gguf") is string path)
        {
            using GgufFile file = GgufFile.Open(path);
            OutFile.AssertEqual(TokenizerLoader.Load(file.Metadata), path);
        }
        else
        {
            Console.WriteLine("skipped: no ../shared");
        }
    }
}
