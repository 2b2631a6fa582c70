// One device of a deployment as a service: it loads the layers that the plan gives it and serves whoever has a certificate of the same authority.
// Settings come from appsettings.json, the environment (Stage__Name=...) and the command line (--Stage:Name=...); see README.md.
using E2LLM.Samples.StageWorker;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

HostApplicationBuilder builder = Host.CreateApplicationBuilder(args);
builder.Services.AddOptions<StageSettings>().BindConfiguration("Stage").ValidateOnStart();
builder.Services.AddSingleton<IValidateOptions<StageSettings>, StageSettingsValidator>();
builder.Services.AddHostedService<StageService>();
try
{
    await builder.Build().RunAsync();
    return Environment.ExitCode;
}
catch (OptionsValidationException wrong)
{
    foreach (string failure in wrong.Failures)
    {
        Console.Error.WriteLine($"StageWorker: {failure}");
    }

    return 2;
}
