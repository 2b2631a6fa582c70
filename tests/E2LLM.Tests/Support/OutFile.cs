namespace E2LLM.Tests.Support;

/// <summary>llama.cpp's tokenizer expectations: X.gguf.inp has texts, X.gguf.out the ids of each on a line, without BOS or special tokens.</summary>
internal static class OutFile
{
    public static void AssertEqual(ITokenizer tokenizer, string vocabularyPath)
    {
        string[] texts = File.ReadAllText(vocabularyPath + ".inp").Split("\n__ggml_vocab_test__\n");
        string[] lines = File.ReadAllLines(vocabularyPath + ".out");
        Assert.True(lines.Length > 40);
        for (int i = 0; i < lines.Length; i++)
        {
            int[] expected = [.. lines[i].Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse)];
            Assert.Equal(expected, tokenizer.Encode(texts[i], addBos: false, parseSpecial: false));
        }
    }
}
