using System.Buffers.Binary;
using System.Security.Cryptography;
using E2LLM.Generation;
using E2LLM.Sampling;
using E2LLM.Tokenization;
using Microsoft.Extensions.AI;

namespace E2LLM.Extensions.AI;

/// <summary>The abstractions' conversations and options as ours. What we cannot do is refused, never dropped in silence. Stateless; thread-safe.</summary>
internal static class ChatOptionsMapping
{
    /// <summary>The turns of a conversation; <see cref="ChatOptions.Instructions"/> go before them as a system turn.</summary>
    /// <exception cref="NotSupportedException">A message holds something else than text.</exception>
    public static List<ChatTurn> Turns(IEnumerable<ChatMessage> messages, ChatOptions? options)
    {
        var turns = new List<ChatTurn>();
        if (!string.IsNullOrEmpty(options?.Instructions))
        {
            turns.Add(new ChatTurn(ChatRole.System.Value, options.Instructions));
        }

        foreach (ChatMessage message in messages)
        {
            AIContent? other = message.Contents.FirstOrDefault(content => content is not (TextContent or TextReasoningContent or UsageContent));
            if (other is not null)
            {
                throw new NotSupportedException($"Message {turns.Count} ({message.Role}) holds {other.GetType().Name}; only text is supported.");
            }

            turns.Add(new ChatTurn(message.Role.Value, message.Text));
        }

        return turns.Count > 0 ? turns : throw new ArgumentException("A conversation has at least one message.", nameof(messages));
    }

    /// <summary>What a call asks for, over what the client does by default.</summary>
    /// <exception cref="NotSupportedException">It asks for tools, a response format other than text, a server-side conversation or a background response.</exception>
    /// <exception cref="ArgumentException">A value is out of range.</exception>
    public static GenerationOptions Generation(ChatOptions? options, GenerationOptions defaults, IChatClient client)
    {
        if (options is null)
        {
            return WithSeed(defaults, seeded: false);
        }

        Refuse(options.Tools is { Count: > 0 } && options.ToolMode is not NoneChatToolMode, nameof(options.Tools), "tools");
        Refuse(options.ToolMode is RequiredChatToolMode, nameof(options.ToolMode), "required tool calls");
        Refuse(options.ResponseFormat is not (null or ChatResponseFormatText), nameof(options.ResponseFormat), "response formats other than text");
        Refuse(!string.IsNullOrEmpty(options.ConversationId), nameof(options.ConversationId), "conversations kept by the model; send the whole history");

        // The client's own options, where a call needs what the abstractions have no word for: bias, min-p, log-probabilities.
        bool isRaw = options.RawRepresentationFactory is not null;
        GenerationOptions given = options.RawRepresentationFactory?.Invoke(client) switch
        {
            null => defaults,
            GenerationOptions own => own,
            object other => throw new NotSupportedException($"{nameof(options.RawRepresentationFactory)} gave a {other.GetType().Name}; {nameof(GenerationOptions)} is expected."),
        };
        SamplingOptions sampling = given.Sampling;
        return WithSeed(
            given with
            {
                MaxTokenCount = options.MaxOutputTokens ?? given.MaxTokenCount,
                StopSequences = options.StopSequences is null ? given.StopSequences : [.. options.StopSequences],
                Sampling = sampling with
                {
                    Temperature = options.Temperature ?? sampling.Temperature,
                    TopP = options.TopP ?? sampling.TopP,
                    TopK = options.TopK ?? sampling.TopK,
                    FrequencyPenalty = options.FrequencyPenalty ?? sampling.FrequencyPenalty,
                    PresencePenalty = options.PresencePenalty ?? sampling.PresencePenalty,
                    Seed = options.Seed is { } seed ? unchecked((ulong)seed) : sampling.Seed,
                },
            },
            seeded: options.Seed is not null || isRaw);
    }

    /// <summary>Checked, and with a random seed where none was given, so that asking again may give another answer.</summary>
    private static GenerationOptions WithSeed(GenerationOptions options, bool seeded)
    {
        if (!seeded && options.Sampling.Seed == 0)
        {
            Span<byte> random = stackalloc byte[sizeof(ulong)];
            RandomNumberGenerator.Fill(random);
            options = options with { Sampling = options.Sampling with { Seed = BinaryPrimitives.ReadUInt64LittleEndian(random) } };
        }

        options.Validate();
        return options;
    }

    private static void Refuse(bool asked, string option, string what)
    {
        if (asked)
        {
            throw new NotSupportedException($"{nameof(ChatOptions)}.{option} asks for {what}, which is not supported.");
        }
    }
}
