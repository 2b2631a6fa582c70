using E2LLM;
using E2LLM.Extensions.AI;
using E2LLM.Extensions.AI.Hosting;
using E2LLM.Generation;
using E2LLM.Replicas;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

#pragma warning disable IDE0130 // Where users have a using directive already.
namespace Microsoft.Extensions.DependencyInjection;
#pragma warning restore IDE0130

/// <summary>Adds models that E2LLM runs to a service. Not thread-safe, as service collections are.</summary>
public static class E2LLMServiceCollectionExtensions
{
    /// <summary>
    /// Adds a model: afterwards <see cref="IChatClient"/>, <see cref="ITokenizer"/> and <see cref="TextGenerator"/> (or, with a deployment, <see cref="Dispatcher"/>) can
    /// be injected. The options are checked, and the model is loaded, when the host starts; the container disposes of it.
    /// </summary>
    /// <param name="services">The service collection.</param>
    /// <param name="configure">Names the model.</param>
    public static IServiceCollection AddE2LLM(this IServiceCollection services, Action<E2LLMOptions> configure) => Add(services, null, configure);

    /// <summary>Adds a model under a key, beside others: inject with <c>[FromKeyedServices(key)]</c>.</summary>
    /// <param name="services">The service collection.</param>
    /// <param name="key">The key; also the name of the options.</param>
    /// <param name="configure">Names the model.</param>
    /// <exception cref="ArgumentException">The key is empty.</exception>
    public static IServiceCollection AddE2LLM(this IServiceCollection services, string key, Action<E2LLMOptions> configure)
    {
        ArgumentException.ThrowIfNullOrEmpty(key);
        return Add(services, key, configure);
    }

    /// <summary>Adds a check that is healthy when the model can answer, degraded while it is loaded or when some of its replicas are lost.</summary>
    /// <param name="builder">What <c>AddHealthChecks()</c> returns.</param>
    /// <param name="key">The model's key; null for the one without.</param>
    /// <param name="name">Name of the check.</param>
    /// <param name="failureStatus">Status when the model cannot answer; null for unhealthy.</param>
    /// <param name="tags">Tags of the check, for example <c>ready</c>.</param>
    public static IHealthChecksBuilder AddE2LLM(
        this IHealthChecksBuilder builder, string? key = null, string name = "e2llm", HealthStatus? failureStatus = null, IEnumerable<string>? tags = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.Add(new HealthCheckRegistration(name, services => new ModelHealthCheck(Loader(services, key)), failureStatus, tags));
    }

    private static IServiceCollection Add(IServiceCollection services, string? key, Action<E2LLMOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(configure);
        string name = key ?? Options.Options.DefaultName;
        services.AddOptions<E2LLMOptions>(name).Configure(configure).ValidateOnStart();
        if (services.Any(service => service.ServiceType == typeof(ModelLoader) && Equals(service.ServiceKey, key)))
        {
            // Called again for the same model: only one more piece of configuration.
            return services;
        }

        services.AddSingleton<IValidateOptions<E2LLMOptions>>(new E2LLMOptionsValidator(name));
        Singleton(provider => new ModelLoader(
            provider, provider.GetRequiredService<IOptionsMonitor<E2LLMOptions>>().Get(name), provider.GetService<ILogger<E2LLMChatClient>>() ?? NullLogger<E2LLMChatClient>.Instance));
        Singleton<IChatClient>(provider =>
        {
            ModelLoader loader = Loader(provider, key);
            return new E2LLMChatClient(loader.Get(), loader.Options.Chat, provider.GetService<ILogger<E2LLMChatClient>>());
        });
        Singleton(provider => Loader(provider, key).Get().Tokenizer);
        Singleton(provider => Service<TextGenerator>(provider, key));
        Singleton(provider => Service<Dispatcher>(provider, key));
        services.AddSingleton<IHostedService>(provider => new ModelStartup(() => Loader(provider, key)));
        return services;

        void Singleton<T>(Func<IServiceProvider, T> make)
            where T : class => services.TryAddKeyedSingleton<T>(key, (provider, _) => make(provider));
    }

    private static ModelLoader Loader(IServiceProvider services, string? key) =>
        key is null ? services.GetRequiredService<ModelLoader>() : services.GetRequiredKeyedService<ModelLoader>(key);

    private static T Service<T>(IServiceProvider services, string? key)
        where T : class => Loader(services, key).Get().Service as T
            ?? throw new InvalidOperationException($"The model{(key is null ? "" : $" \"{key}\"")} is served by a {(typeof(T) == typeof(Dispatcher) ? "generator in this process" : "deployment")}: there is no {typeof(T).Name}.");
}
