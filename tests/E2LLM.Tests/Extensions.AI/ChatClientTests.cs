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
    private readonly TextGenerator _generator = TextGenerator.Load(TestModel.OwnModel("q8_0"), OneThread);
    private readonly E2LLMChatClient _client;

    public ChatClientTests() => _client = new E2LLMChatClient(_generator);

    public void Dispose() => _generator.Dispose();

    [Fact]
    public async Task GetResponse_OneMessage_GivesWhatTheGeneratorGives()
    {
        (string text, int count, _) = await Generate(new GenerationOptions { MaxTokenCount = 40 });
        ChatResponse response = await _client.GetResponseAsync(Prompt, new ChatOptions { MaxOutputTokens = 40 });
        Assert.Equal(text, response.Text);
        Assert.Equal(ChatRole.Assistant, Assert.Single(response.Messages).Role);
        Assert.Equal(ChatFinishReason.Length, response.FinishReason);
        int prompt = _generator.Tokenizer.Encode(Prompt).Count;
        Assert.Equal((prompt, count, prompt + count), (response.Usage!.InputTokenCount, response.Usage.OutputTokenCount, response.Usage.TotalTokenCount));
        Assert.Equal(_generator.Shape.Name, response.ModelId);
        Assert.StartsWith("chatcmpl-", response.ResponseId, StringComparison.Ordinal);
        Assert.Equal(count, Assert.IsType<List<GeneratedToken>>(response.RawRepresentation).Count);
    }

    [Fact]
    public async Task GetStreamingResponse_Updates_MakeTheResponse()
    {
        var options = new ChatOptions { MaxOutputTokens = 30, Temperature = 1f, Seed = 7 };
        ChatResponse whole = await _client.GetResponseAsync(Prompt, options);
        List<ChatResponseUpdate> updates = [];
        await foreach (ChatResponseUpdate update in _client.GetStreamingResponseAsync(Prompt, options))
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
        ChatResponse response = await _client.GetResponseAsync(Prompt, new ChatOptions
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
        ChatResponse response = await _client.GetResponseAsync(Prompt, new ChatOptions { RawRepresentationFactory = _ => own, MaxOutputTokens = 20 });
        Assert.Equal(expected, response.Text);
        Assert.All((List<GeneratedToken>)response.RawRepresentation!, token => Assert.True(token.LogProbability < 0 && token.TopLogProbabilities.Count == 3));
    }

    [Fact]
    public async Task GetResponse_NoSeed_DrawsAnewAndSeedRepeats()
    {
        async Task<string> Ask(long? seed) => (await _client.GetResponseAsync(Prompt, new ChatOptions { MaxOutputTokens = 30, Temperature = 1.5f, Seed = seed })).Text;
        Assert.Equal(await Ask(0), await Ask(0));
        Assert.NotEqual(await Ask(0), await Ask(1));
        Assert.Equal(3, (await Task.WhenAll(Ask(null), Ask(null), Ask(null))).Distinct().Count());
    }

    [Fact]
    public async Task GetResponse_StopSequence_EndsBeforeIt()
    {
        (string text, _, _) = await Generate(new GenerationOptions { MaxTokenCount = 60 });
        string stop = text.Substring(20, 6);
        ChatResponse response = await _client.GetResponseAsync(Prompt, new ChatOptions { MaxOutputTokens = 60, StopSequences = [stop] });
        Assert.Equal(text[..text.IndexOf(stop, StringComparison.Ordinal)], response.Text);
        Assert.Equal(ChatFinishReason.Stop, response.FinishReason);
    }

    [Fact]
    public async Task GetResponse_SeveralMessages_AreJoinedWithoutNames()
    {
        (string expected, _, _) = await Generate(new GenerationOptions { MaxTokenCount = 12 }, "Be brief.\n\nOnce\n\nupon");
        ChatResponse response = await _client.GetResponseAsync(
            [new ChatMessage(ChatRole.User, "Once"), new ChatMessage(ChatRole.Assistant, "upon")], new ChatOptions { Instructions = "Be brief.", MaxOutputTokens = 12 });
        Assert.Equal(expected, response.Text);
    }

    [Fact]
    public async Task GetResponse_Template_WritesTheConversation()
    {
        ChatTemplate template = ChatTemplate.Parse("{% for m in messages %}{{ m.role }} said: {{ m.content }}\n{% endfor %}Then ");
        var own = new E2LLMChatClient(_generator, new E2LLMChatClientOptions { Template = template });
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
            await foreach (ChatResponseUpdate _ in _client.GetStreamingResponseAsync(Prompt, new ChatOptions { MaxOutputTokens = 400 }, stop.Token))
            {
                if (++seen == 4)
                {
                    await stop.CancelAsync();
                }
            }
        });
        Assert.NotEmpty((await _client.GetResponseAsync(Prompt, new ChatOptions { MaxOutputTokens = 5 })).Text);
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
        var error = await Assert.ThrowsAsync<NotSupportedException>(() => _client.GetResponseAsync(Prompt, options));
        Assert.Matches("Tools|ResponseFormat|ConversationId|RawRepresentationFactory", error.Message);
    }

    [Fact]
    public async Task GetResponse_BadInput_Throws()
    {
        await Assert.ThrowsAsync<ArgumentException>(() => _client.GetResponseAsync([]));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => _client.GetResponseAsync(Prompt, new ChatOptions { Temperature = -1f }));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => _client.GetResponseAsync(Prompt, new ChatOptions { MaxOutputTokens = 0 }));
        await Assert.ThrowsAsync<NotSupportedException>(() => _client.GetResponseAsync([new ChatMessage(ChatRole.User, [new DataContent(new byte[1], "image/png")])]));
        await Assert.ThrowsAsync<ArgumentException>(() => _client.GetResponseAsync(string.Join(' ', Enumerable.Repeat("dog", 2 * _generator.Shape.ContextLength))));
    }

    [Fact]
    public void GetService_KnownTypes_AreFound()
    {
        Assert.Same(_client, _client.GetService<IChatClient>());
        Assert.Same(_generator, _client.GetService<TextGenerator>());
        Assert.Same(_generator.Tokenizer, _client.GetService<ITokenizer>());
        Assert.Same(ChatTemplate.Plain, _client.GetService<ChatTemplate>());
        Assert.Equal(("e2llm", _generator.Shape.Name), (_client.GetService<ChatClientMetadata>()!.ProviderName, _client.GetService<ChatClientMetadata>()!.DefaultModelId));
        Assert.Null(_client.GetService<TextGenerator>("key"));
        Assert.Null(_client.GetService<HttpClient>());
    }

    private async Task<(string Text, int Count, FinishReason? Finish)> Generate(GenerationOptions options, string prompt = Prompt)
    {
        string text = "";
        int count = 0;
        FinishReason? finish = null;
        await foreach (GeneratedToken token in _generator.GenerateAsync(prompt, options))
        {
            text += token.Text;
            count++;
            finish = token.Finish;
        }

        return (text, count, finish);
    }
}
