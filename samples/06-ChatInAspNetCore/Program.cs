// A web service with a model in it: OpenAI's endpoints, a health check, telemetry, and a page that shows the deployment at work.
// usage: ChatInAspNetCore [--urls http://127.0.0.1:5080] [--Chat:Model M.gguf]
using E2LLM.Extensions.AI;
using E2LLM.Generation;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Samples.ChatInAspNetCore;
using E2LLM.Samples.ChatInAspNetCore.Live;
using E2LLM.Samples.ChatInAspNetCore.OpenAi;
using E2LLM.Sampling;
using E2LLM.Tokenization;
using Microsoft.Extensions.AI;

var builder = WebApplication.CreateBuilder(new WebApplicationOptions { Args = args, ContentRootPath = AppContext.BaseDirectory });
string modelPath = builder.Configuration["Chat:Model"] ?? Path.Combine(AppContext.BaseDirectory, "tinytales-3.9m-q8_0.gguf");
var answers = new E2LLMChatClientOptions
{
    Generation = new GenerationOptions { MaxTokenCount = 200, Sampling = new SamplingOptions { Temperature = 0.7f, TopP = 0.95f } },
};

// The model as IChatClient, over a deployment: here all its stages live in this process, and end after all that uses them. Without the line that names a
// deployment the model is loaded whole.
await using var cluster = new LocalCluster(modelPath);
builder.Services.AddSingleton(cluster);
builder.Services.AddE2LLM(options =>
{
    options.ModelPath = modelPath;
    options.Chat = answers;
    options.Deployment = (services, identity, ct) => cluster.StartAsync(identity, services.GetRequiredService<ILoggerFactory>(), ct);
});
builder.Services.AddHealthChecks().AddE2LLM();

// The same model for plain completions: no chat template between the prompt and the model.
builder.Services.AddKeyedSingleton<IChatClient>(OpenAiEndpoints.PlainText, (services, _) =>
{
    using GgufFile file = GgufFile.Open(modelPath);
    return new E2LLMChatClient(services.GetRequiredService<Dispatcher>(), file, answers with { Template = ChatTemplate.Plain });
});
builder.Services.AddSingleton<LiveRequests>();
builder.Services.AddOpenTelemetryExport(builder.Configuration);

WebApplication app = builder.Build();
app.MapHealthChecks("/health");
app.MapOpenAi();
app.MapLivePage();
await app.RunAsync();
