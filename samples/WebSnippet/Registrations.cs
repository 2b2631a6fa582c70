using E2LLM.Deployment;
using E2LLM.Extensions.AI;
using E2LLM.Generation;
using E2LLM.Replicas;
using E2LLM.Sampling;
using Microsoft.Extensions.AI;

/// <summary>What the README of E2LLM.Extensions.AI shows; a test keeps them equal.</summary>
internal static class Registrations
{
    public static void One(WebApplicationBuilder builder)
    {
        builder.Services.AddE2LLM(options => options.ModelPath = "model.gguf");
        builder.Services.AddHealthChecks().AddE2LLM();
    }

    public static void Two(WebApplicationBuilder builder, WebApplication app)
    {
        builder.Services.AddE2LLM("small", options => options.ModelPath = "small.gguf");
        builder.Services.AddE2LLM("large", options => options.ModelPath = "large.gguf");
        app.MapGet("/short", ([FromKeyedServices("small")] IChatClient chat, string text) => chat.GetResponseAsync(text));
    }

    public static void Deployed(WebApplicationBuilder builder, PeerConnector connect)
    {
        DeploymentPlan plan = DeploymentPlan.Load("plan.json");
        builder.Services.AddE2LLM(options =>
        {
            options.ModelPath = "model.gguf"; // only its metadata is read here
            options.Deployment = (services, identity, ct) => Dispatcher.ConnectAsync(
                plan, identity, connect, options: new DispatcherOptions { LoggerFactory = services.GetService<ILoggerFactory>() }, cancellationToken: ct);
        });
    }

    public static async Task AloneAsync()
    {
        using TextGenerator generator = TextGenerator.Load("model.gguf");
        using IChatClient chat = new E2LLMChatClient(generator);
        var options = new ChatOptions
        {
            MaxOutputTokens = 100, Temperature = 0.7f, RawRepresentationFactory = _ => new GenerationOptions { Sampling = new SamplingOptions { MinP = 0.05f, RepetitionPenalty = 1.1f } },
        };
        ChatResponse answer = await chat.GetResponseAsync("Tell me a story.", options);
        Console.WriteLine($"{answer.Text} ({answer.FinishReason}, {answer.Usage?.OutputTokenCount} tokens)");
    }
}
