namespace E2LLM.Replicas;

/// <summary>
/// Loads layers on a device when a plan gives them to it. The host supplies it: where the weights come from is its choice. What was loaded before is
/// disposed by then. Weights that the loader did not hand over with their <see cref="LoadedStage"/> are its own: it may keep the layers that both have, and load the rest
/// (<see cref="LoadedStage(Execution.LayerRangeExecutor, IDisposable[])"/>; ModelWeights.Keep and ModelWeights.Join do it). Called by one thread at a time.
/// </summary>
/// <param name="layers">Layers to hold.</param>
/// <param name="embedding">Whether to hold the token embedding too.</param>
/// <param name="head">Whether to hold the output head too.</param>
/// <param name="cancellationToken">Set when they are no longer wanted.</param>
public delegate ValueTask<LoadedStage> StageLoader(LayerRange layers, bool embedding, bool head, CancellationToken cancellationToken);
