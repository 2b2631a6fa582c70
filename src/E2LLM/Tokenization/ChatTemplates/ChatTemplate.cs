using E2LLM.Gguf;
using E2LLM.Tokenization.ChatTemplates;

namespace E2LLM.Tokenization;

/// <summary>
/// How a model wants a conversation written, up to where its answer begins: the Jinja template in its file, in a sandbox that knows strings, lists and loops, and nothing
/// else. What people said never becomes a control token, whatever they wrote. Immutable; thread-safe.
/// </summary>
public sealed class ChatTemplate
{
    private const string TemplateKey = "tokenizer.chat_template";
    private readonly TemplateSource _source;
    private readonly Lazy<IReadOnlyList<TemplateNode>> _nodes;
    private readonly ChatTemplateLimits _limits;
    private readonly Dictionary<string, object?> _variables;
    private readonly TimeProvider _clock;

    private ChatTemplate(TemplateSource source, Lazy<IReadOnlyList<TemplateNode>> nodes, ChatTemplateLimits limits, Dictionary<string, object?> variables, TimeProvider clock)
    {
        _source = source;
        _nodes = nodes;
        _limits = limits;
        _variables = variables;
        _clock = clock;
    }

    /// <summary>
    /// For models that know no conversation: what was said, a blank line between two turns, no names. One turn is a text to be continued, as it stands.
    /// </summary>
    public static ChatTemplate Plain { get; } = Parse("{% for message in messages %}{{ message.content }}{% if not loop.last %}{{ '\\n\\n' }}{% endif %}{% endfor %}");

    /// <summary>The template as it was parsed.</summary>
    public string Source => _source.Text;

    /// <summary>Parses a template.</summary>
    /// <param name="source">Jinja: text, for, if, set, macro, expressions with filters and tests.</param>
    /// <param name="limits">What it may use up; null for the defaults.</param>
    /// <exception cref="ChatTemplateException">It breaks the syntax or a limit, or uses what is not supported.</exception>
    public static ChatTemplate Parse(string source, ChatTemplateLimits? limits = null)
    {
        ChatTemplate template = Unparsed(source, limits ?? ChatTemplateLimits.Default);
        _ = template._nodes.Value;
        return template;
    }

    /// <summary>
    /// The template of a model's file, with the texts of its BOS and EOS tokens. Parsed when it is first used: a model whose template is not supported can still continue texts.
    /// </summary>
    /// <returns>Null where the file has none.</returns>
    /// <exception cref="GgufFormatException">The file's metadata is broken.</exception>
    public static ChatTemplate? FromMetadata(GgufMetadata metadata, ChatTemplateLimits? limits = null)
    {
        ArgumentNullException.ThrowIfNull(metadata);
        return metadata.TryGetString(TemplateKey, out string? source)
            ? Unparsed(source, limits ?? ChatTemplateLimits.Default).With("bos_token", TokenText("bos")).With("eos_token", TokenText("eos"))
            : null;

        TemplateText TokenText(string name)
        {
            const string TokensKey = "tokenizer.ggml.tokens";
            return metadata.Contains(TokensKey) && metadata.TryGetInt32($"tokenizer.ggml.{name}_token_id", out int id) && metadata.GetUtf8Strings(TokensKey) is var tokens && id >= 0 && id < tokens.Count
                ? TemplateText.OfTemplate(System.Text.Encoding.UTF8.GetString(tokens[id])) : TemplateText.Empty;
        }
    }

    /// <summary>The same template with a variable set, such as Qwen3's <c>enable_thinking</c>.</summary>
    /// <param name="name">Name as the template has it.</param>
    /// <param name="value">A string, a boolean, a whole number or a double.</param>
    /// <exception cref="ArgumentException">The value is of another type.</exception>
    public ChatTemplate With(string name, object value)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        object known = value switch
        {
            TemplateText or bool or long or double => value,
            string text => TemplateText.OfTemplate(text),
            int number => (long)number,
            _ => throw new ArgumentException($"A variable is a string, a boolean, a whole number or a double, not {value?.GetType().Name ?? "null"}.", nameof(value)),
        };
        return new ChatTemplate(_source, _nodes, _limits, new Dictionary<string, object?>(_variables, StringComparer.Ordinal) { [name] = known }, _clock);
    }

    /// <summary>The same template by another clock, for those that write the date.</summary>
    /// <param name="clock">Its local time is what <c>strftime_now</c> gives.</param>
    public ChatTemplate With(TimeProvider clock)
    {
        ArgumentNullException.ThrowIfNull(clock);
        return new ChatTemplate(_source, _nodes, _limits, _variables, clock);
    }

    /// <summary>Writes a conversation.</summary>
    /// <param name="turns">What was said so far, at least one turn.</param>
    /// <param name="addGenerationPrompt">Whether the beginning of the model's answer follows. Default true.</param>
    /// <returns>The text that the model continues with its answer.</returns>
    /// <exception cref="ArgumentException">There is no turn.</exception>
    /// <exception cref="ChatTemplateException">The template refuses the conversation or exceeds a limit.</exception>
    public string Render(IReadOnlyList<ChatTurn> turns, bool addGenerationPrompt = true) => RenderText(turns, addGenerationPrompt).Text;

    /// <summary>
    /// Writes a conversation as token ids, ready to be continued. Control tokens come from the template alone: where what was said holds the text of one, that text is encoded
    /// as plain text, apart from its surroundings. The BOS token comes once, whether the template writes it or the tokenizer adds it.
    /// </summary>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="turns">What was said so far, at least one turn.</param>
    /// <param name="addGenerationPrompt">Whether the beginning of the model's answer follows. Default true.</param>
    /// <inheritdoc cref="Render" path="/exception"/>
    public IReadOnlyList<int> Encode(ITokenizer tokenizer, IReadOnlyList<ChatTurn> turns, bool addGenerationPrompt = true)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        TemplateText rendered = RenderText(turns, addGenerationPrompt);
        bool addBos = _variables["bos_token"] is not TemplateText { Length: > 0 } bos || !rendered.Text.StartsWith(bos.Text, StringComparison.Ordinal);
        (string Text, bool IsData)[] runs = [.. rendered.Runs()];
        if (runs.All(run => !run.IsData || IsPlain(tokenizer, run.Text)))
        {
            return tokenizer.Encode(rendered.Text, addBos, parseSpecial: true);
        }

        return [.. runs.SelectMany((run, i) => tokenizer.Encode(run.Text, addBos && i == 0, parseSpecial: !run.IsData))];
    }

    /// <summary>Whether a text holds no control token.</summary>
    private static bool IsPlain(ITokenizer tokenizer, string text) =>
        tokenizer.Encode(text, addBos: false, parseSpecial: true).SequenceEqual(tokenizer.Encode(text, addBos: false, parseSpecial: false));

    private static ChatTemplate Unparsed(string source, ChatTemplateLimits limits)
    {
        ArgumentNullException.ThrowIfNull(source);
        limits.Validate();
        var text = new TemplateSource(source);
        var variables = new Dictionary<string, object?>(StringComparer.Ordinal) { ["bos_token"] = TemplateText.Empty, ["eos_token"] = TemplateText.Empty };
        return new ChatTemplate(text, new Lazy<IReadOnlyList<TemplateNode>>(Parsed), limits, variables, TimeProvider.System);

        IReadOnlyList<TemplateNode> Parsed() => source.Length <= limits.MaxSourceLength
            ? TemplateParser.Parse(text, limits.MaxDepth)
            : throw text.Error(0, $"the template has {source.Length} characters; {limits.MaxSourceLength} at most.");
    }

    private TemplateText RenderText(IReadOnlyList<ChatTurn> turns, bool addGenerationPrompt)
    {
        ArgumentNullException.ThrowIfNull(turns);
        if (turns.Count == 0)
        {
            throw new ArgumentException("A conversation has at least one turn.", nameof(turns));
        }

        var messages = turns.Select(turn => (object?)new TemplateMap { ["role"] = TemplateText.OfData(turn.Role), ["content"] = TemplateText.OfData(turn.Content) }).ToList();
        var variables = new Dictionary<string, object?>(_variables, StringComparer.Ordinal)
        {
            ["messages"] = messages, ["add_generation_prompt"] = addGenerationPrompt, ["tools"] = null, ["documents"] = null,
        };
        return TemplateRenderer.Render(_source, _nodes.Value, variables, _limits, _clock);
    }
}
