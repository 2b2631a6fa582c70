namespace E2LLM.Simulation.Events;

/// <summary>
/// One entry of the event calendar. Ordered by <c>(Time, Sequence)</c>, so events at the same instant happen in the order in which they
/// were scheduled, on every machine. The three integers mean what the owner of <paramref name="Kind"/> says.
/// </summary>
/// <param name="Time">When it happens, seconds since the start of the run.</param>
/// <param name="Sequence">Position in the order of scheduling; unique within one calendar.</param>
/// <param name="Kind">What happens.</param>
/// <param name="Target">To whom it happens.</param>
/// <param name="Stamp">Generation of the target when it was scheduled (lazy deletion), or a second target.</param>
internal readonly record struct SimulationEvent(double Time, long Sequence, int Kind, int Target, int Stamp);
