using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace E2LLM.Benchmarks.KvTransfer;

/// <summary>Speeds and quality of KV codecs, written as the tables of benchmarks/KV_TRANSFER.md.</summary>
internal static class KvTransferReport
{
    /// <summary>Measures and writes the report.</summary>
    /// <param name="output">The Markdown file.</param>
    /// <param name="text">Text for the passages of trained models; null leaves the quality out.</param>
    /// <param name="models">GGUF files; those whose name tells random weights get random tokens.</param>
    public static void Run(string output, string? text, string[] models, bool speed = true)
    {
        var report = new StringBuilder();
        report.AppendLine("# KV transfer: sizes, speeds, quality").AppendLine();
        report.AppendLine("Written by `dotnet run -c Release --project benchmarks/E2LLM.Benchmarks -- kv-speed OUT.md MODEL.gguf...` and `-- kv-quality OUT.md TEXT MODEL.gguf...` (`kv-transfer` does both).");
        report.AppendLine(CultureInfo.InvariantCulture, $"{DateTime.Today:yyyy-MM-dd}, {Processor()}, {Environment.ProcessorCount} virtual cores, {RuntimeInformation.FrameworkDescription}; one thread; medians.").AppendLine();
        if (speed)
        {
            KvSpeed.Write(report);
            KvFirstLayer.Write(report, models);
        }

        if (text is not null)
        {
            KvQuality.Write(report, File.ReadAllText(text), models);
        }

        File.WriteAllText(output, report.ToString().ReplaceLineEndings("\n").TrimEnd() + "\n");
        Console.Write(report);
    }

    /// <summary>Warm code, then the median of repeated passes, in bytes per second.</summary>
    public static double Rate(long bytes, Action pass)
    {
        // Long enough for the second compilation, which comes in the background.
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        while (System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalSeconds < 0.25)
        {
            pass();
        }

        return bytes / Clock.Seconds(9, pass).Median;
    }

    public static string Gigabytes(double bytesPerSecond) => (bytesPerSecond / 1e9).ToString("F2", CultureInfo.InvariantCulture);

    private static string Processor()
    {
        const string Info = "/proc/cpuinfo";
        string? name = File.Exists(Info) ? File.ReadLines(Info).FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal)) : null;
        return name?.Split(':')[1].Trim() ?? RuntimeInformation.ProcessArchitecture.ToString();
    }
}
