using System.Globalization;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Engines;
using BenchmarkDotNet.Exporters;
using BenchmarkDotNet.Exporters.Csv;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.NoEmit;
using BenchmarkDotNet.Validators;
using Perfolizer.Horology;

namespace E2LLM.Benchmarks.Kernels;

/// <summary>
/// Every kernel by BenchmarkDotNet, against ceilings that are measured before the first one, and again after the last one to show how far the machine itself has moved. Things that must be held against
/// each other (before and after, two engines) are not measured here but in turn, by the other programs of this project.
/// </summary>
internal static class KernelSuite
{
    /// <param name="args">BenchmarkDotNet's own, for example <c>--filter *MatVec*</c>; without any, all kernels.</param>
    public static void Run(string[] args)
    {
        Ceilings before = Ceilings.Measure();
        Console.WriteLine(before);
        BenchmarkSwitcher.FromTypes([typeof(ProductKernels), typeof(AttentionKernels), typeof(RowKernels)]).Run(args.Length > 0 ? args : ["--filter", "*"], Config(before));
        Console.WriteLine($"before: {before}\nafter:  {Ceilings.Measure()}");
    }

    private static ManualConfig Config(Ceilings ceilings)
    {
        // Short, and in this process: the ceilings are of this process, kernels need no child project, and calls take long enough not to be unrolled.
        Job job = Job.Default.WithToolchain(InProcessNoEmitToolchain.DontLogOutput).WithStrategy(RunStrategy.Throughput).WithUnrollFactor(1).WithEvaluateOverhead(false)
            .WithWarmupCount(3).WithIterationCount(9).WithIterationTime(TimeInterval.FromMilliseconds(100));
        CultureInfo plain = CultureInfo.InvariantCulture;
        return ManualConfig.CreateEmpty().AddJob(job).AddLogger(ConsoleLogger.Default).AddValidator(JitOptimizationsValidator.FailOnError)
            .AddExporter(MarkdownExporter.GitHub, CsvExporter.Default)
            .AddColumn(TargetMethodColumn.Method).AddColumnProvider(DefaultColumnProviders.Params).AddColumn(StatisticColumn.Min, StatisticColumn.Median)
            .AddColumn(
                new KernelColumn("GB/s", "Bytes of weights, of keys and values or of rows read in the least time, / 1e9", ceilings, (work, seconds) => (work.Bytes / seconds / 1e9).ToString("F1", plain)),
                new KernelColumn("Gop/s", "Multiplications and additions in the least time, / 1e9", ceilings, (work, seconds) => (work.Operations / seconds / 1e9).ToString("F1", plain)),
                new KernelColumn("Ceiling", "What bounds the kernel, measured before the first one", ceilings, (work, _) => work.Ceiling),
                new KernelColumn("Share", "Time at the ceiling / least time", ceilings, (work, seconds) => (work.LeastSeconds / seconds).ToString("P0", plain)))
            .WithSummaryStyle(SummaryStyle.Default.WithTimeUnit(TimeUnit.Microsecond).WithMaxParameterColumnWidth(40));
    }
}
