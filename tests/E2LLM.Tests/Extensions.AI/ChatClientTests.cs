using E2LLM.Execution;
using E2LLM.Extensions.AI;
using E2LLM.Generation;
using E2LLM.Sampling;
using E2LLM.Tests.Support;
using E2LLM.Tokenization;
using Microsoft.Extensions.AI;

namespace E2LLM.Tests.Extensions.AI;

public sealed class ChatClientTests : IDisposable
{
    private const string Prompt = "Once upon a time";
    private static readonly GeneratorOptions OneThread = new() { Executor = new ExecutorOptions { ThreadCount = 1 } };
    private readonly TextGenerator generator = TextGenerator.Load(TestModel.OwnModel("q8_0"), OneThread);
    private readonly E2LLMChatClient client;

    public ChatClientTests() => client = new E2LLMChatClient(generator);

    public void Dispose() => generator.Dispose();

    [Fact]
    public async Task GetResponse_OneMessage_GivesWhatTheGeneratorGives()
    {
        (string text, int count, _) = await Generate(new GenerationOptions { MaxTokenCount = 40 });
        ChatResponse response = await client.GetResponseAsync(Prompt, new ChatOptions { MaxOutputTokens = 40 });
        Assert.Equal(text, response.Text);
        Assert.Equal(ChatRole.Assistant, Assert.Single(response.Messages).Role);
        Assert.Equal(ChatFinishReason.Length, response.FinishReason);
        int prompt = generator.Tokenizer.Encode(Prompt).Count;
        Assert.Equal((prompt, count, prompt + count), (response.Usage!.InputTokenCount, response.Usage.OutputTokenCount, response.Usage.TotalTokenCount));
        Assert.Equal(generator.Shape.Name, response.ModelId);
        Assert.StartsWith("chatcmpl-", response.ResponseId, StringComparison.Ordinal);
        Assert.Equal(count, Assert.IsType<List<GeneratedToken>>(response.RawRepresentation).Count);
    }

    [Fact]
    public async Task GetStreamingResponse_Updates_MakeTheResponse()
    {
        var options = new ChatOptions { MaxOutputTokens = 30, Temperature = 1f, Seed = 7 };
        ChatResponse whole = await client.GetResponseAsync(Prompt, options);
        List<ChatResponseUpdate> updates = [];
        await foreach (ChatResponseUpdate update in client.GetStreamingResponseAsync(Prompt, options))
        {
            updates.Add(update);
        }

        Assert.True(updates.Count > 10);
        Assert.Equal(whole.Text, string.Concat(updates.Select(update => update.Text)));
        Assert.Single(updates.Select(update => update.ResponseId).Distinct());
        Assert.Null(updates[0].FinishReason);
        Assert.Equal(ChatFinishReason.Length, updates[^1].FinishReason);
        Assert.Contains(updates[^1].Contents, content => content is UsageContent { Details.OutputTokenCount: 30 });
    }

    [Fact]
    public async Task GetResponse_SamplingOptions_ReachTheSampler()
    {
        var sampling = new SamplingOptions { Temperature = 0.9f, TopP = 0.8f, TopK = 30, FrequencyPenalty = 0.5f, PresencePenalty = 0.2f, Seed = 99 };
        (string expected, _, _) = await Generate(new GenerationOptions { MaxTokenCount = 30, Sampling = sampling });
        ChatResponse response = await client.GetResponseAsync(Prompt, new ChatOptions
        {
            MaxOutputTokens = 30, Temperature = 0.9f, TopP = 0.8f, TopK = 30, FrequencyPenalty = 0.5f, PresencePenalty = 0.2f, Seed = 99,
        });
        Assert.Equal(expected, response.Text);
    }

    [Fact]
    public async Task GetResponse_OwnOptions_ReachTheSamplerUnderTheCommonOnes()
    {
        var own = new GenerationOptions
        {
            MaxTokenCount = 500, Sampling = new SamplingOptions { Temperature = 1f, MinP = 0.1f, RepetitionPenalty = 1.3f, LogProbabilities = true, TopLogProbabilityCount = 3, Seed = 4 },
        };
        (string expected, _, _) = await Generate(own with { MaxTokenCount = 20 });
        ChatResponse response = await client.GetResponseAsync(Prompt, new ChatOptions { RawRepresentationFactory = _ => own, MaxOutputTokens = 20 });
        Assert.Equal(expected, response.Text);
        Assert.All((List<GeneratedToken>)response.RawRepresentation!, token => Assert.True(token.LogProbability < 0 && token.TopLogProbabilities.Count == 3));
    }

    [Fact]
    public async Task GetResponse_NoSeed_DrawsAnewAndSeedRepeats()
    {
        async Task<string> Ask(long? seed) => (await client.GetResponseAsync(Prompt, new ChatOptions { MaxOutputTokens = 30, Temperature = 1.5f, Seed = seed })).Text;
        Assert.Equal(await Ask(0), await Ask(0));
        Assert.NotEqual(await Ask(0), await Ask(1));
        Assert.Equal(3, (await Task.WhenAll(Ask(null), Ask(null), Ask(null))).Distinct().Count());
    }

    [Fact]
    public async Task GetResponse_StopSequence_EndsBeforeIt()
    {
        (string text, _, _) = await Generate(new GenerationOptions { MaxTokenCount = 60 });
        string stop = text.Substring(20, 6);
        ChatResponse response = await client.GetResponseAsync(Prompt, new ChatOptions { MaxOutputTokens = 60, StopSequences = [stop] });
        Assert.Equal(text[..text.IndexOf(stop, StringComparison.Ordinal)], response.Text);
        Assert.Equal(ChatFinishReason.Stop, response.FinishReason);
    }

    [Fact]
    public async Task GetResponse_SeveralMessages_AreJoinedWithoutNames()
    {
        (string expected, _, _) = await Generate(new GenerationOptions { MaxTokenCount = 12 }, "Be brief.\n\nOnce\n\nupon");
        ChatResponse response = await client.GetResponseAsync(
            [new ChatMessage(ChatRole.User, "Once"), new ChatMessage(ChatRole.Assistant, "upon")], new ChatOptions { Instructions = "Be brief.", MaxOutputTokens = 12 });
        Assert.Equal(expected, response.Text);
    }

    [Fact]
    public async Task GetResponse_Template_WritesTheConversation()
    {
        ChatTemplate template = ChatTemplate.Parse("{% for m in messages %}{{ m.role }} said: {{ m.content }}\n{% endfor %}Then ");
        var own = new E2LLMChatClient(generator, new E2LLMChatClientOptions { Template = template });
        (string expected, _, _) = await Generate(new GenerationOptions { MaxTokenCount = 12 }, "user said: Hello\nThen ");
        Assert.Equal(expected, (await own.GetResponseAsync("Hello", new ChatOptions { MaxOutputTokens = 12 })).Text);
        Assert.Same(template, own.GetService<ChatTemplate>());
    }

    [Fact]
    public async Task GetStreamingResponse_Cancelled_ThrowsAndFreesTheGenerator()
    {
        using var stop = new CancellationTokenSource();
        int seen = 0;
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (ChatResponseUpdate _ in client.GetStreamingResponseAsync(Prompt, new ChatOptions { MaxOutputTokens = 400 }, stop.Token))
            {
                if (++seen == 4)
                {
                    await stop.CancelAsync();
                }
            }
        });
        Assert.NotEmpty((await client.GetResponseAsync(Prompt, new ChatOptions { MaxOutputTokens = 5 })).Text);
    }

    public static TheoryData<ChatOptions> Unsupported => new()
    {
        new ChatOptions { Tools = [AIFunctionFactory.Create(() => 1, "f")] },
        new ChatOptions { ResponseFormat = ChatResponseFormat.Json },
        new ChatOptions { ConversationId = "c" },
        new ChatOptions { RawRepresentationFactory = _ => "text" },
    };

    [Theory]
    [MemberData(nameof(Unsupported))]
    public async Task GetResponse_UnsupportedOption_IsRefusedByName(ChatOptions options)
    {
        var error = await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync(Prompt, options));
        Assert.Matches("Tools|ResponseFormat|ConversationId|RawRepresentationFactory", error.Message);
    }

    [Fact]
    public async Task GetResponse_BadInput_Throws()
    {
        await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync([]));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => client.GetResponseAsync(Prompt, new ChatOptions { Temperature = -1f }));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => client.GetResponseAsync(Prompt, new ChatOptions { MaxOutputTokens = 0 }));
        await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync([new ChatMessage(ChatRole.User, [new DataContent(new byte[1], "image/png")])]));
        await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync(string.Join(' ', Enumerable.Repeat("dog", 2 * generator.Shape.ContextLength))));
    }

    [Fact]
    public void GetService_KnownTypes_AreFound()
    {
        Assert.Same(client, client.GetService<IChatClient>());
        Assert.Same(generator, client.GetService<TextGenerator>());
        Assert.Same(generator.Tokenizer, client.GetService<ITokenizer>());
        Assert.Same(ChatTemplate.Plain, client.GetService<ChatTemplate>());
        Assert.Equal(("e2llm", generator.Shape.Name), (client.GetService<ChatClientMetadata>()!.ProviderName, client.GetService<ChatClientMetadata>()!.DefaultModelId));
        Assert.Null(client.GetService<TextGenerator>("key"));
        Assert.Null(client.GetService<HttpClient>());
    }

    private async Task<(string Text, int Count, FinishReason? Finish)> Generate(GenerationOptions options, string prompt = Prompt)
    {
        string text = "";
        int count = 0;
        FinishReason? finish = null;
        await foreach (GeneratedToken token in generator.GenerateAsync(prompt, options))
        {
            text += token.Text;
            count++;
            finish = token.Finish;
        }

        return (text, count, finish);
    }
}
