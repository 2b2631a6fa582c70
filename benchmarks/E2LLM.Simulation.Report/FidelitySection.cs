using System.Diagnostics;

namespace E2LLM.Simulation.Report;

/// <summary>Section 6: predicted beside measured, by the sample that serves for real. Stateless.</summary>
internal static class FidelitySection
{
    public static void Write(ReportWriter report, string program)
    {
        report.Text("## 6. Fidelity to ourselves");
        report.Text("`dotnet run -c Release --project samples/EdgeCluster -- --fidelity`: every stage of the sample's plan is profiled alone (`Profiling/`), the plan is simulated on these profiles, and then really served, each stage a process "
            + "whose work takes so many times as long by resting after it (processor time counts), links paced by bytes and latency. Seconds; waiting is end-to-end minus that of requests of the same lengths alone, on both sides. Goal: mean error at most 10 %.");
        if (!File.Exists(program))
        {
            report.Text($"Skipped: build {program} first.");
            return;
        }

        using Process process = Process.Start(new ProcessStartInfo("dotnet", [program, "--fidelity"]) { RedirectStandardOutput = true })!;
        string text = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        int plan = text.IndexOf("Plan for", StringComparison.Ordinal), after = text.IndexOf("Profiled", StringComparison.Ordinal);
        report.Text(plan < 0 || after < plan ? text : $"{text[..plan].Trim()}\n\n```\n{text[plan..after].Trim()}\n```\n\n{text[after..].Trim()}");
    }
}
