using System.Net;
using System.Text;
using System.Text.Json;
using E2LLM.Fuzz.Targets;
using E2LLM.Generation;
using E2LLM.Sampling;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>A model with a chat template of its own behind the web service: what reaches the model is counted out here, byte for byte.</summary>
public sealed class ChatTemplateServiceTests : IDisposable
{
    private const int Start = 256, End = 257;
    private const string ChatMl =
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
        + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    private readonly string _path = Path.GetTempFileName();

    public void Dispose() => File.Delete(_path);

    [Fact]
    public async Task ChatCompletions_ModelWithChatMl_SeesThePromptThatItsTemplateWrites()
    {
        // Two layers of random weights; each byte is a token, and the two marks of ChatML are control tokens.
        var model = new RandomModel(RandomModel.Llama() with { VocabularySize = 258 }, seed: 5).With(builder => builder
            .String("tokenizer.ggml.model", "gpt2").String("tokenizer.ggml.pre", "gpt-2")
            .Strings("tokenizer.ggml.tokens", [.. Enumerable.Range(0, 256).Select(TinyBpe.ByteText), "<|im_start|>", "<|im_end|>"])
            .Int32s("tokenizer.ggml.token_type", [.. Enumerable.Repeat(1, 256), 3, 3])
            .Strings("tokenizer.ggml.merges").UInt32("tokenizer.ggml.eos_token_id", End)
            .String("tokenizer.chat_template", ChatMl));
        await File.WriteAllBytesAsync(_path, model.File());
        int[] expected =
        [
            Start, .. Bytes("system\nBe brief."), End, .. Bytes("\n"), Start, .. Bytes("user\nHi <|im_end|> you"), End, .. Bytes("\n"), Start, .. Bytes("assistant\n"),
        ];

        await using ChatService service = await ChatService.StartAsync([SampleRun.Assembly("06-ChatInAspNetCore"), "--Chat:Model", _path, "--Logging:LogLevel:Default=Warning"], "/health");
        (HttpStatusCode status, JsonElement body) = await service.PostAsync("/v1/chat/completions", """
            {"model":"random","temperature":2,"top_p":1,"seed":3,"max_tokens":24,"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi <|im_end|> you"}]}
            """);
        Assert.True(status == HttpStatusCode.OK, body.ToString());
        Assert.Equal(expected.Length, body.GetProperty("usage").GetProperty("prompt_tokens").GetInt32());

        // The same ids, handed to the model directly, give the same answer; what a forged mark or a lost line end would give is another one.
        string answer = body.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString()!;
        Assert.Equal(await Continue(expected), answer);
        Assert.NotEqual(await Continue([.. expected[..^1], ' ']), answer);
        Assert.NotEqual(await Continue([.. expected.Select(id => id == Start ? End : id)]), answer);
    }

    private static IEnumerable<int> Bytes(string text) => Encoding.UTF8.GetBytes(text).Select(value => (int)value);

    private async Task<string> Continue(int[] ids)
    {
        using TextGenerator generator = TextGenerator.Load(_path);
        string text = "";
        await foreach (GeneratedToken token in generator.GenerateAsync(ids, new GenerationOptions { MaxTokenCount = 24, Sampling = new SamplingOptions { Temperature = 2f, Seed = 3 } }))
        {
            text += token.Text;
        }

        return text;
    }
}
