// The members of Microsoft.ML.Tokenizers.Tokenizer that the adapter calls, with that package's signatures.
namespace E2LLM.Tests.Tokenization;

public abstract class Tokenizer
{
    public abstract IReadOnlyList<int> EncodeToIds(string text, bool considerPreTokenization = true, bool considerNormalization = true);

    public abstract string? Decode(IEnumerable<int> ids);
}
