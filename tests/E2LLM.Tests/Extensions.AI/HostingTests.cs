using System.Collections.Concurrent;
using E2LLM.Extensions.AI;
using E2LLM.Generation;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Tests.Support;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace E2LLM.Tests.Extensions.AI;

public sealed class HostingTests
{
    [Fact]
    public async Task AddE2LLM_Host_LoadsAnswersAndDisposes()
    {
        TextGenerator generator;
        using (IHost host = Build(services => services.AddE2LLM(o => o.ModelPath = TestModel.OwnModel("q8_0"))))
        {
            await host.StartAsync();
            generator = host.Services.GetRequiredService<TextGenerator>();
            IChatClient client = host.Services.GetRequiredService<IChatClient>();
            Assert.Same(generator, client.GetService<TextGenerator>());
            Assert.Same(generator.Tokenizer, host.Services.GetRequiredService<ITokenizer>());
            Assert.NotEmpty((await client.GetResponseAsync("The dog", new ChatOptions { MaxOutputTokens = 4 })).Text);
            Assert.Throws<InvalidOperationException>(host.Services.GetRequiredService<Dispatcher>);
            await host.StopAsync();
        }

        Assert.Throws<ObjectDisposedException>(() => generator.GenerateAsync("x"));
    }

    [Fact]
    public async Task AddE2LLM_TwoKeys_AreTwoModels()
    {
        using IHost host = Build(services => services
            .AddE2LLM("small", o => o.ModelPath = TestModel.OwnModel("q8_0"))
            .AddE2LLM("exact", o =>
            {
                o.ModelPath = TestModel.OwnModel("f32");
                o.Chat = new E2LLMChatClientOptions { ModelId = "tales-f32" };
            }));
        await host.StartAsync();
        IChatClient small = host.Services.GetRequiredKeyedService<IChatClient>("small"), exact = host.Services.GetRequiredKeyedService<IChatClient>("exact");
        Assert.NotSame(small.GetService<TextGenerator>(), exact.GetService<TextGenerator>());
        Assert.Equal("tales-f32", (await exact.GetResponseAsync("The dog", new ChatOptions { MaxOutputTokens = 2 })).ModelId);
        Assert.Null(host.Services.GetService<IChatClient>());
    }

    [Fact]
    public async Task AddE2LLM_WrongOptions_HostDoesNotStartAndSaysWhy()
    {
        using IHost host = Build(services => services
            .AddE2LLM("a", o => o.ModelPath = "no/such.gguf")
            .AddE2LLM("b", o => o.Chat = new E2LLMChatClientOptions { Generation = new GenerationOptions { MaxTokenCount = 0 } }));
        var error = await Assert.ThrowsAnyAsync<Exception>(() => host.StartAsync());
        string text = error.ToString();
        Assert.IsType<AggregateException>(error, exactMatch: false);
        Assert.All(((AggregateException)error).InnerExceptions, inner => Assert.IsType<OptionsValidationException>(inner));
        Assert.Contains("E2LLM \"a\": ModelPath names no file: ", text, StringComparison.Ordinal);
        Assert.Contains("E2LLM \"b\": ModelPath is required", text, StringComparison.Ordinal);
        Assert.Contains("E2LLM \"b\": Chat: ", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AddE2LLM_BrokenFile_HostDoesNotStart()
    {
        using var folder = new TemporaryFolder();
        string path = folder.In("broken.gguf");
        await File.WriteAllTextAsync(path, "no model");
        using IHost host = Build(services => services.AddE2LLM(o => o.ModelPath = path));
        await Assert.ThrowsAsync<GgufFormatException>(() => host.StartAsync());
    }

    [Fact]
    public async Task HealthCheck_FollowsTheModel()
    {
        using IHost host = Build(services =>
        {
            services.AddE2LLM(o =>
            {
                o.ModelPath = TestModel.OwnModel("q8_0");
                o.LoadAtStart = false;
            });
            services.AddHealthChecks().AddE2LLM(tags: ["ready"]);
        });
        await host.StartAsync();
        HealthCheckService checks = host.Services.GetRequiredService<HealthCheckService>();
        Assert.Equal(HealthStatus.Degraded, (await checks.CheckHealthAsync()).Status);
        host.Services.GetRequiredService<IChatClient>();
        HealthReport report = await checks.CheckHealthAsync();
        Assert.Equal(HealthStatus.Healthy, report.Status);
        Assert.Contains("ready", report.Entries["e2llm"].Tags);
    }

    [Fact]
    public async Task HealthCheck_ModelThatDoesNotLoad_IsUnhealthy()
    {
        using var folder = new TemporaryFolder();
        string path = folder.In("broken.gguf");
        await File.WriteAllTextAsync(path, "no model");
        using IHost host = Build(services =>
        {
            services.AddE2LLM(o =>
            {
                o.ModelPath = path;
                o.LoadAtStart = false;
            });
            services.AddHealthChecks().AddE2LLM();
        });
        await host.StartAsync();
        Assert.Throws<GgufFormatException>(host.Services.GetRequiredService<IChatClient>);
        HealthReport report = await host.Services.GetRequiredService<HealthCheckService>().CheckHealthAsync();
        Assert.Equal(HealthStatus.Unhealthy, report.Status);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Log_TextOfAConversation_OnlyWhereAskedFor(bool logs)
    {
        var lines = new LogLines();
        using IHost host = Build(services =>
        {
            services.AddE2LLM(o =>
            {
                o.ModelPath = TestModel.OwnModel("q8_0");
                o.Chat = new E2LLMChatClientOptions { LogSensitiveData = logs };
            });
            services.AddLogging(log => log.ClearProviders().SetMinimumLevel(LogLevel.Trace).AddProvider(lines));
        });
        await host.StartAsync();
        IChatClient client = host.Services.GetRequiredService<IChatClient>();
        ChatResponse response = await client.GetResponseAsync("The purple dog", new ChatOptions { MaxOutputTokens = 8 });
        await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync(string.Join(' ', Enumerable.Repeat("purple", 3000))));
        Assert.Contains(lines.All, line => line.Contains("8 tokens generated", StringComparison.Ordinal));
        Assert.Single(lines.All, line => line.Contains("tinytales", StringComparison.Ordinal) && line.Contains("is loaded", StringComparison.Ordinal));
        Assert.Equal(logs, lines.All.Any(line => line.Contains("purple", StringComparison.Ordinal)));
        Assert.Equal(logs, lines.All.Any(line => line.Contains(response.Text, StringComparison.Ordinal)));
    }

    private static IHost Build(Action<IServiceCollection> add)
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        add(builder.Services);
        return builder.Build();
    }

    private sealed class LogLines : ILoggerProvider, ILogger
    {
        public ConcurrentQueue<string> All { get; } = [];

        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            All.Enqueue(formatter(state, exception) + exception);

        public void Dispose()
        {
        }
    }
}
