using E2LLM.Diagnostics;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;

namespace E2LLM.Samples.ChatInAspNetCore;

/// <summary>Sends what E2LLM measures to a collector, where one is named by the standard variable OTEL_EXPORTER_OTLP_ENDPOINT.</summary>
internal static class TelemetryExport
{
    public static IServiceCollection AddOpenTelemetryExport(this IServiceCollection services, IConfiguration configuration)
    {
        if (string.IsNullOrEmpty(configuration["OTEL_EXPORTER_OTLP_ENDPOINT"]))
        {
            return services;
        }

        // Endpoint, protocol, headers and intervals are read from the other OTEL_ variables by the exporter itself.
        return services.AddHostedService(_ => new Providers());
    }

    /// <summary>Alive as long as the host, so that nothing is measured before and the rest is sent at the end.</summary>
    private sealed class Providers : IHostedService
    {
        private MeterProvider? _metrics;
        private TracerProvider? _traces;

        public Task StartAsync(CancellationToken cancellationToken)
        {
            // ASP.NET Core's own requests are the parents of ours: without them the sampler would drop ours, too.
            _metrics = Sdk.CreateMeterProviderBuilder().AddMeter(Telemetry.SourceName).AddOtlpExporter().Build();
            _traces = Sdk.CreateTracerProviderBuilder().AddSource("Microsoft.AspNetCore", Telemetry.SourceName).AddOtlpExporter().Build();
            return Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken cancellationToken)
        {
            _metrics?.Dispose();
            _traces?.Dispose();
            return Task.CompletedTask;
        }
    }
}
