using E2LLM.Deployment;

namespace E2LLM.Replicas;

/// <summary>
/// Gives the plan to go on with after devices were lost. The host supplies it, for example by calling the planner with the devices that are left; it knows
/// the devices, this library does not. Called by one thread at a time, never while a plan is being taken up.
/// </summary>
/// <param name="loss">What was lost and what still runs.</param>
/// <param name="cancellationToken">Set when the dispatcher is disposed.</param>
/// <returns>The new plan; null leaves things as they are. Where more was lost by then it is not taken up, and another is asked for.</returns>
public delegate ValueTask<DeploymentPlan?> PlanMaker(DeviceLoss loss, CancellationToken cancellationToken);
