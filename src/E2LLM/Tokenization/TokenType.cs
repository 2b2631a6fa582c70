namespace E2LLM.Tokenization;

/// <summary>What a token is for. The numbers are those of <c>tokenizer.ggml.token_type</c>.</summary>
internal enum TokenType
{
    Undefined = 0,
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}
