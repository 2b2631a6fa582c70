using System.Text.Json;
using E2LLM.Tests.Support;
using E2LLM.Tokenization;

namespace E2LLM.Tests.Tokenization;

/// <summary>
/// What another implementation of Jinja renders, character for character: Jinja itself, by benchmarks/peers/templates.py. E2LLM_CHAT_TEMPLATES=FOLDER compares a
/// folder of other templates, with its golden.json, as well.
/// </summary>
public sealed class ChatTemplateGoldenTests
{
    [Fact]
    public void Render_OwnTemplates_EqualsTheOtherImplementation() => Compare(Repository.PathOf("tests/E2LLM.Tests/Golden/ChatTemplates"), 80);

    [Fact]
    public void Render_TemplatesOfModels_EqualsTheOtherImplementation()
    {
        if (Environment.GetEnvironmentVariable("E2LLM_CHAT_TEMPLATES") is { Length: > 0 } folder)
        {
            Compare(folder, 1);
        }
    }

    /// <summary>The clock of the script.</summary>
    private sealed class Stopped : TimeProvider
    {
        public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

        public override DateTimeOffset GetUtcNow() => new(2026, 3, 4, 15, 6, 7, TimeSpan.Zero);
    }

    private static void Compare(string folder, int fewest)
    {
        JsonElement golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "golden.json"))).RootElement;
        int count = 0;
        var wrong = new List<string>();
        foreach (JsonElement item in golden.GetProperty("cases").EnumerateArray())
        {
            string name = item.GetProperty("template").GetString()!;
            string? expected = item.GetProperty("text").GetString(), actual = null, error = null;
            ChatTurn[] turns = [.. item.GetProperty("messages").EnumerateArray().Select(turn => new ChatTurn(turn.GetProperty("role").GetString()!, turn.GetProperty("content").GetString()!))];
            try
            {
                ChatTemplate template = ChatTemplate.Parse(File.ReadAllText(Path.Combine(folder, name)));
                JsonElement variables = item.GetProperty("variables");
                template = template.With("bos_token", "<s>").With("eos_token", "</s>").With(new Stopped());
                if (variables.TryGetProperty("enable_thinking", out JsonElement thinking))
                {
                    template = template.With("enable_thinking", thinking.GetBoolean());
                }

                actual = template.Render(turns, variables.GetProperty("add_generation_prompt").GetBoolean());
            }
            catch (ChatTemplateException refused)
            {
                error = refused.Message;
            }

            count++;
            if (actual != expected)
            {
                wrong.Add($"{name} {item.GetProperty("messages").GetRawText().ReplaceLineEndings("")}: {error}\nours:   {JsonSerializer.Serialize(actual)}\ntheirs: {JsonSerializer.Serialize(expected)}");
            }
        }

        Assert.True(count >= fewest);
        Assert.True(wrong.Count == 0, $"{wrong.Count} of {count} differ.\n{string.Join('\n', wrong)}");
    }
}
