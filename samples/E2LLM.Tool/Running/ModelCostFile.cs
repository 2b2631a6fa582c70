using E2LLM.Costs;

namespace E2LLM.Tool.Running;

/// <summary>What the planner needs to know of a model, from a description in JSON or from the model itself.</summary>
internal static class ModelCostFile
{
    public static ModelCost Read(string path) => ModelCost.Parse(File.ReadAllText(path));
}
