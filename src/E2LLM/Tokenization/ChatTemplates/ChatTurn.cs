namespace E2LLM.Tokenization;

/// <summary>One message of a conversation.</summary>
/// <param name="Role">Who speaks: <c>system</c>, <c>user</c>, <c>assistant</c>, or another that the template knows.</param>
/// <param name="Content">What was said.</param>
public sealed record ChatTurn(string Role, string Content);
