using E2LLM.Deployment;
using E2LLM.Simulation.Models;

namespace E2LLM.Simulation.Engine;

/// <summary>What a run needs to change its plan: the plan in force and how to make replicas of a new one.</summary>
internal sealed class Replanning(ReplanOptions options, DeploymentPlan plan, Func<DeploymentPlan, ReplicaModel[]> build)
{
    private readonly Queue<(double Arrival, int Prompt, int Output)> _recent = new();
    private long _prompts, _outputs;

    public ReplanOptions Options { get; } = options;

    /// <summary>The plan in force.</summary>
    public DeploymentPlan Plan { get; set; } = plan;

    public double LastSeconds { get; set; } = double.NegativeInfinity;

    /// <summary>Plans made during the run.</summary>
    public int Count { get; set; }

    public ReplicaModel[] Build(DeploymentPlan next) => build(next);

    /// <summary>Takes a completed request into the recent ones; true where they have drifted from what was planned for.</summary>
    public bool Observe(RequestState request)
    {
        _recent.Enqueue((request.ArrivalSeconds, request.PromptTokens, request.OutputTokens));
        _prompts += request.PromptTokens;
        _outputs += request.OutputTokens;
        if (_recent.Count > Options.WindowRequests)
        {
            (_, int prompt, int output) = _recent.Dequeue();
            _prompts -= prompt;
            _outputs -= output;
        }

        if (Options.PlannedOutputRatio <= 0 || _recent.Count < Options.WindowRequests || _prompts == 0)
        {
            return false;
        }

        double change = (double)_outputs / _prompts / (PlannedRatio > 0 ? PlannedRatio : Options.PlannedOutputRatio);
        return change > Options.DriftFactor || change < 1 / Options.DriftFactor;
    }

    /// <summary>The ratio that the plan in force was made for, once a drift has been answered.</summary>
    public double PlannedRatio { get; private set; }

    public ReplanContext Context(double now, IReadOnlyList<string> failed)
    {
        int count = Math.Max(1, _recent.Count);
        double first = _recent.Count > 0 ? _recent.Min(r => r.Arrival) : 0, last = _recent.Count > 0 ? _recent.Max(r => r.Arrival) : 0;
        PlannedRatio = _prompts > 0 ? (double)_outputs / _prompts : 0;
        return new ReplanContext(
            now, (double)_prompts / count, (double)_outputs / count, last > first ? (count - 1) / (last - first) : 0, failed, Plan);
    }
}
