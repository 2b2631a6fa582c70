namespace E2LLM.Tests.Support;

/// <summary>A llama-architecture model of a few kilobytes, as a builder that a test can still spoil.</summary>
internal static class TinyModel
{
    public const int Hidden = 8;
    public const int FeedForward = 12;
    public const int Layers = 2;
    public const int Vocabulary = 262;

    public static GgufBuilder Metadata(string architecture = "llama") => new GgufBuilder()
        .String("general.architecture", architecture)
        .String("general.name", "tiny")
        .UInt32($"{architecture}.context_length", 64)
        .UInt32($"{architecture}.embedding_length", Hidden)
        .UInt32($"{architecture}.block_count", Layers)
        .UInt32($"{architecture}.feed_forward_length", FeedForward)
        .UInt32($"{architecture}.attention.head_count", 2)
        .UInt32($"{architecture}.attention.head_count_kv", 1)
        .Single($"{architecture}.attention.layer_norm_rms_epsilon", 1e-5f);

    /// <summary>SentencePiece: &lt;unk&gt;, &lt;s&gt;, &lt;/s&gt;, the 256 bytes, then the pieces "▁", "a", "▁a".</summary>
    public static GgufBuilder WithTokenizer(this GgufBuilder builder)
    {
        string[] tokens = ["<unk>", "<s>", "</s>", .. Enumerable.Range(0, 256).Select(b => $"<0x{b:X2}>"), "\u2581", "a", "\u2581a"];
        return builder
            .String("tokenizer.ggml.model", "llama")
            .Strings("tokenizer.ggml.tokens", tokens)
            .Singles("tokenizer.ggml.scores", [.. tokens.Select((_, i) => i < 259 ? 0f : -(i - 259f))])
            .Int32s("tokenizer.ggml.token_type", [.. tokens.Select((_, i) => i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1)])
            .UInt32("tokenizer.ggml.bos_token_id", 1)
            .UInt32("tokenizer.ggml.eos_token_id", 2);
    }

    public static GgufBuilder WithTensors(this GgufBuilder builder)
    {
        builder.Tensor("token_embd.weight", Hidden, Vocabulary);
        for (int layer = 0; layer < Layers; layer++)
        {
            builder.Tensor($"blk.{layer}.attn_norm.weight", Hidden)
                .Tensor($"blk.{layer}.attn_q.weight", Hidden, Hidden)
                .Tensor($"blk.{layer}.attn_k.weight", Hidden, Hidden / 2)
                .Tensor($"blk.{layer}.attn_v.weight", Hidden, Hidden / 2)
                .Tensor($"blk.{layer}.attn_output.weight", Hidden, Hidden)
                .Tensor($"blk.{layer}.ffn_norm.weight", Hidden)
                .Tensor($"blk.{layer}.ffn_gate.weight", Hidden, FeedForward)
                .Tensor($"blk.{layer}.ffn_up.weight", Hidden, FeedForward)
                .Tensor($"blk.{layer}.ffn_down.weight", FeedForward, Hidden);
        }

        return builder.Tensor("output_norm.weight", Hidden);
    }

    public static GgufBuilder Whole() => Metadata().WithTokenizer().WithTensors();
}
