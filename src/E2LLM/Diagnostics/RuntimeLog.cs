using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace E2LLM.Diagnostics;

/// <summary>
/// Everything that the runtime logs: the one place that states it. Event ids are stable; README.md beside this file lists them. Counts, names and reasons
/// only: the runtime never logs a token or a text.
/// </summary>
internal static partial class RuntimeLog
{
    /// <summary>The logger of a class; one that logs nothing where there is no factory.</summary>
    public static ILogger For<T>(ILoggerFactory? factory) => (factory ?? NullLoggerFactory.Instance).CreateLogger(typeof(T).FullName!);

    [LoggerMessage(100, LogLevel.Debug, "Request {Request} begins: {PromptTokenCount} prompt tokens, at most {MaxTokenCount} to generate")]
    public static partial void RequestBegun(ILogger logger, long request, int promptTokenCount, int maxTokenCount);

    [LoggerMessage(101, LogLevel.Debug, "Request {Request} is read by replica {Prefill} and continued by {Decode}")]
    public static partial void RequestPlaced(ILogger logger, long request, string prefill, string decode);

    [LoggerMessage(102, LogLevel.Debug, "Request {Request} ended after {OutputTokenCount} tokens")]
    public static partial void RequestEnded(ILogger logger, long request, int outputTokenCount);

    [LoggerMessage(103, LogLevel.Error, "Request {Request} failed after {OutputTokenCount} tokens")]
    public static partial void RequestFailed(ILogger logger, Exception exception, long request, int outputTokenCount);

    [LoggerMessage(104, LogLevel.Warning, "Request {Request} was refused: {Reason}")]
    public static partial void RequestRefused(ILogger logger, long request, string reason);

    [LoggerMessage(110, LogLevel.Warning, "Request {Request} lost a replica behind {TokenCount} tokens; recovery {Recovery} of at most {MaxRecoveryCount} begins")]
    public static partial void RecoveryBegun(ILogger logger, Exception exception, long request, int tokenCount, int recovery, int maxRecoveryCount);

    [LoggerMessage(111, LogLevel.Information, "Request {Request} goes on {Seconds:F3} s after its replica was lost")]
    public static partial void RecoveryFinished(ILogger logger, long request, double seconds);

    [LoggerMessage(112, LogLevel.Warning, "Request {Request} is tried again behind {TokenCount} tokens, {Recovery} of at most {MaxRecoveryCount} times: its keys and values or its memory failed")]
    public static partial void RequestRetried(ILogger logger, Exception exception, long request, int tokenCount, int recovery, int maxRecoveryCount);

    [LoggerMessage(120, LogLevel.Information, "Replica {Replica} ({Role}) is connected: {StageCount} stages, {BlockCount} KV blocks")]
    public static partial void ReplicaConnected(ILogger logger, string replica, string role, int stageCount, int blockCount);

    [LoggerMessage(121, LogLevel.Warning, "Replica {Replica} is lost")]
    public static partial void ReplicaLost(ILogger logger, Exception exception, string replica);

    [LoggerMessage(122, LogLevel.Information, "Replica {Replica} ends: a newer plan gave its devices other work")]
    public static partial void ReplicaReplaced(ILogger logger, string replica);

    [LoggerMessage(130, LogLevel.Information, "A new plan is asked for: lost are {Devices}, {RunningCount} replicas run")]
    public static partial void ReplanBegun(ILogger logger, string devices, int runningCount);

    [LoggerMessage(131, LogLevel.Information, "Plan taken up after {Seconds:F3} s: {KeptCount} replicas stay, {RetiredCount} end, {AddedCount} come")]
    public static partial void PlanTakenUp(ILogger logger, double seconds, int keptCount, int retiredCount, int addedCount);

    [LoggerMessage(132, LogLevel.Error, "The new plan could not be had or taken up")]
    public static partial void ReplanFailed(ILogger logger, Exception exception);

    [LoggerMessage(133, LogLevel.Warning, "There is no new plan: what is left serves, or nothing does")]
    public static partial void ReplanDeclined(ILogger logger);

    [LoggerMessage(140, LogLevel.Information, "Peer {Peer} is connected to stage {Stage} ({Purpose})")]
    public static partial void PeerConnected(ILogger logger, string peer, string stage, string purpose);

    [LoggerMessage(141, LogLevel.Warning, "Peer {Peer} of stage {Stage} is lost: {Reason}")]
    public static partial void PeerLost(ILogger logger, Exception exception, string peer, string stage, string reason);

    [LoggerMessage(142, LogLevel.Information, "Peer {Peer} left stage {Stage}")]
    public static partial void PeerLeft(ILogger logger, string peer, string stage);

    [LoggerMessage(143, LogLevel.Warning, "Peer {Peer} is refused by stage {Stage}: {Reason} {Differences}")]
    public static partial void PeerRefused(ILogger logger, string peer, string stage, string reason, string differences);

    [LoggerMessage(150, LogLevel.Information, "Stage {Stage} loads layers {Layers}")]
    public static partial void LayersLoading(ILogger logger, string stage, string layers);

    [LoggerMessage(151, LogLevel.Information, "Stage {Stage} holds layers {Layers} after {Seconds:F3} s")]
    public static partial void LayersLoaded(ILogger logger, string stage, string layers, double seconds);

    [LoggerMessage(152, LogLevel.Error, "Stage {Stage} could not load layers {Layers}: {Reason}")]
    public static partial void LayersNotLoaded(ILogger logger, Exception? exception, string stage, string layers, string reason);

    [LoggerMessage(153, LogLevel.Information, "Model {Model} is loaded: {LayerCount} layers, {WeightBytes} bytes of weights, {BlockCount} KV blocks, {Seconds:F3} s")]
    public static partial void ModelLoaded(ILogger logger, string model, int layerCount, long weightBytes, int blockCount, double seconds);

    [LoggerMessage(160, LogLevel.Warning, "Keys and values of sequence {Sequence} did not get from stage {Stage} to {Peer}: {Reason}")]
    public static partial void KvTransferFailed(ILogger logger, ulong sequence, string stage, string peer, string reason);

    [LoggerMessage(161, LogLevel.Warning, "Keys and values from {Peer} for sequence {Sequence} are refused by stage {Stage}: {Reason}")]
    public static partial void KvTransferRefused(ILogger logger, string peer, ulong sequence, string stage, string reason);

    [LoggerMessage(162, LogLevel.Debug, "Keys and values for sequence {Sequence} came from {Peer} to stage {Stage}: {Bytes} bytes")]
    public static partial void KvTransferred(ILogger logger, ulong sequence, string peer, string stage, long bytes);

    [LoggerMessage(EventId = 170, Message = "Stage {Stage} reports a fault ({Code}) of sequence {Sequence} (0: of all) to its driver: {Reason}")]
    public static partial void Faulted(ILogger logger, LogLevel level, string stage, string code, ulong sequence, string reason);
}
