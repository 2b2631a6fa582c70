using Microsoft.Extensions.Logging;

namespace E2LLM.Extensions.AI;

/// <summary>What is logged. Event ids are stable; text of conversations only where it was asked for.</summary>
internal static partial class ChatLog
{
    [LoggerMessage(1, LogLevel.Debug, "Request {ResponseId}: {PromptTokenCount} prompt tokens, at most {MaxTokenCount} to generate")]
    public static partial void Started(ILogger logger, string responseId, int promptTokenCount, int maxTokenCount);

    [LoggerMessage(2, LogLevel.Debug, "Request {ResponseId}: {OutputTokenCount} tokens generated, ended by {FinishReason}")]
    public static partial void Completed(ILogger logger, string responseId, int outputTokenCount, string finishReason);

    [LoggerMessage(3, LogLevel.Debug, "Request {ResponseId}: abandoned after {OutputTokenCount} tokens")]
    public static partial void Abandoned(ILogger logger, string responseId, int outputTokenCount);

    [LoggerMessage(4, LogLevel.Error, "Request {ResponseId}: failed after {OutputTokenCount} tokens")]
    public static partial void Failed(ILogger logger, Exception exception, string responseId, int outputTokenCount);

    [LoggerMessage(5, LogLevel.Trace, "Request {ResponseId}: prompt {Prompt}")]
    public static partial void Prompt(ILogger logger, string responseId, string prompt);

    [LoggerMessage(6, LogLevel.Trace, "Request {ResponseId}: answer {Answer}")]
    public static partial void Answer(ILogger logger, string responseId, string answer);

    [LoggerMessage(10, LogLevel.Information, "The deployment of model {Model} is connected after {Seconds:F1} s: {ReplicaCount} replicas")]
    public static partial void Connected(ILogger logger, string model, double seconds, int replicaCount);

    [LoggerMessage(11, LogLevel.Error, "Model file {Path} could not be brought up")]
    public static partial void LoadFailed(ILogger logger, Exception exception, string path);
}
