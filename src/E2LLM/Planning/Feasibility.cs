using E2LLM.Costs;
using E2LLM.Planning.Partitioning;

namespace E2LLM.Planning;

/// <summary>Finds out why nothing can be planned. Stateless.</summary>
internal static class Feasibility
{
    /// <summary>What is wrong with the input, or null.</summary>
    public static Infeasible? OfInput(Cluster cluster, ModelCost model, Workload workload)
    {
        if (cluster.FindProblem() is { } problem)
        {
            return new Infeasible { Constraint = "input", At = problem.At, Message = problem.Message };
        }

        if (ModelCheck.Find(model) is { } bad)
        {
            return new Infeasible { Constraint = "input", At = bad.At, Message = bad.Message };
        }

        double prompt = workload.PromptTokens.Min, output = workload.OutputTokens.Min;
        return prompt + output > model.ContextLength
            ? new Infeasible
            {
                Constraint = "input",
                At = "workload.promptTokens",
                Message = $"The shortest request ({prompt} + {output} tokens) is longer than the model's context of {model.ContextLength}.",
            }
            : null;
    }

    /// <summary>The binding constraint of a problem for which no replica was found.</summary>
    public static Infeasible Explain(PlanningProblem problem)
    {
        RoleTable table = RoleTable.Decode(problem, 1, 1), prefill = RoleTable.Prefill(problem);
        long have = 0;
        int layers = 0, mostLayers = 0, best = 0;
        for (int k = 0; k < problem.Classes.Length; k++)
        {
            DeviceClass item = problem.Classes[k];
            have = checked(have + (item.Profile.MemoryBytes * item.Devices.Length));
            int fits = Math.Max(0, Math.Max(table.Capacity[RoleTable.Plain][k], prefill.Capacity[RoleTable.Plain][k]));
            layers += fits * item.Devices.Length;
            if (fits > mostLayers || item.Profile.MemoryBytes > problem.Classes[best].Profile.MemoryBytes)
            {
                (mostLayers, best) = (fits, k);
            }
        }

        var all = new LayerRange(0, problem.LayerCount);
        long need = problem.Times.Memory(Deployment.ReplicaRole.Decode, all, true, true, 1, 1);
        bool single = problem.Devices.Length == 1 || (!problem.LinksUniform && !AnyLink(problem));
        if (single)
        {
            DeviceProfile device = problem.Classes[best].Profile;
            long mixed = problem.Options.AllowMixed
                ? problem.Times.Memory(Deployment.ReplicaRole.Mixed, all, true, true, 1, 1) : need;
            if (mixed > device.MemoryBytes)
            {
                bool alone = problem.Devices.Length == 1;
                return new Infeasible
                {
                    Constraint = alone ? "memory" : "links",
                    At = device.Name,
                    NeedBytes = mixed,
                    HaveBytes = device.MemoryBytes,
                    Message = alone
                        ? $"'{device.Name}' has {device.MemoryBytes} bytes; the model with one sequence needs {mixed}."
                        : $"No two devices are connected, and the largest alone, '{device.Name}', has {device.MemoryBytes} bytes where {mixed} are needed.",
                };
            }
        }

        if (need > have || layers < problem.LayerCount)
        {
            // Devices hold whole layers: what is missing is counted in those.
            long perLayer = problem.LargestLayerBytes + checked(problem.LargestKvBytes * problem.Work.DecodeKvTokens(1));
            long missing = Math.Max(need, have + checked(Math.Max(1, problem.LayerCount - layers) * perLayer));
            return new Infeasible
            {
                Constraint = "memory",
                At = "cluster",
                NeedBytes = missing,
                HaveBytes = have,
                Message = $"The devices together hold {Math.Min(layers, problem.LayerCount)} of {problem.LayerCount} layers with one sequence of {problem.Work.LongestRequest} tokens.",
            };
        }

        if (!double.IsPositiveInfinity(problem.Work.MaxCycleSeconds) && problem.Work.MaxCycleSeconds > 0)
        {
            return new Infeasible
            {
                Constraint = "minimumDecodeSpeed",
                At = "cluster",
                Message = $"No replica that fits decodes a step within {problem.Work.MaxCycleSeconds:G4} s, even with one sequence, besides what prefill needs.",
            };
        }

        if (!problem.LinksUniform)
        {
            return new Infeasible { Constraint = "links", At = "cluster", Message = "No set of connected devices holds the model." };
        }

        return new Infeasible
        {
            Constraint = problem.Options.AllowMixed ? "memory" : "roles",
            At = "cluster",
            NeedBytes = need,
            HaveBytes = have,
            Message = problem.Options.AllowMixed
                ? "The devices cannot hold the layers together with embedding, head and the cache of both phases."
                : "The devices hold only one replica, and mixed replicas are not allowed.",
        };
    }

    private static bool AnyLink(PlanningProblem problem)
    {
        foreach (int i in problem.Devices)
        {
            foreach (int j in problem.Devices)
            {
                if (i != j && problem.Network[i, j] is not null)
                {
                    return true;
                }
            }
        }

        return false;
    }
}
