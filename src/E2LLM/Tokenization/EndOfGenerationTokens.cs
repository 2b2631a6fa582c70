using System.Text;

namespace E2LLM.Tokenization;

/// <summary>
/// Finds the tokens that end a generation: those that the file names, and those known by their text, since many files name
/// only one of several. Source of the texts and of the two exceptions: llama.cpp's vocabulary loader (September 2026).
/// </summary>
internal static class EndOfGenerationTokens
{
    private static readonly string[] EndTexts =
    [
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>", "<|endoftext|>", "</s>",
        "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>",
        "<\uFF5Cend\u2581of\u2581sentence\uFF5C>", "[e~[",
    ];

    /// <summary>Texts of fill-in-the-middle tokens (padding, repository, file) that end a generation too; of each kind the first that is there.</summary>
    private static readonly string[][] FillTexts =
    [
        ["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
        ["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"],
        ["<|file_sep|>"],
    ];

    /// <summary>Texts of fill-in-the-middle tokens that are control tokens, whatever the file says; of each kind the first that is there.</summary>
    private static readonly string[][] ControlTexts =
    [
        ["<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<\uFF5Cfim\u2581begin\uFF5C>", "<PRE>", "\u2581<PRE>", "<|code_prefix|>", "<|prefix|>"],
        ["<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<\uFF5Cfim\u2581hole\uFF5C>", "<SUF>", "\u2581<SUF>", "<|code_suffix|>", "<|suffix|>"],
        ["<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<\uFF5Cfim\u2581end\uFF5C>", "<MID>", "\u2581<MID>", "<|code_middle|>", "<|middle|>"],
    ];

    /// <param name="vocabulary">The tokens.</param>
    /// <param name="named">Ids that the file names, -1 for none; the last three are the fill-in-the-middle ones in the order of the texts.</param>
    /// <param name="types">Types; tokens found by text become control tokens, whatever the file says.</param>
    public static HashSet<int> Find(TokenVocabulary vocabulary, ReadOnlySpan<int> named, TokenType[] types)
    {
        var ids = new HashSet<int>();
        foreach (int id in named)
        {
            if (id >= 0)
            {
                ids.Add(id);
            }
        }

        foreach (string text in EndTexts)
        {
            Add(text);
        }

        for (int kind = 0; kind < FillTexts.Length; kind++)
        {
            if (named[^(FillTexts.Length - kind)] < 0)
            {
                foreach (string text in FillTexts[kind])
                {
                    if (Add(text))
                    {
                        break;
                    }
                }
            }
        }

        foreach (string[] texts in ControlTexts)
        {
            if (Array.Find(texts, text => IdOf(text) >= 0) is string control)
            {
                types[IdOf(control)] = TokenType.Control;
            }
        }

        // Formats in which the token ends a part of a message, not the message.
        if (Has("<|call|>") && Has("<|return|>"))
        {
            Remove("<|end|>", TokenType.UserDefined);
        }
        else if ((Has("<|call|>") || Has("<|calls|>")) && Has("<|flush|>"))
        {
            Remove("<|end|>", TokenType.UserDefined);
        }

        if (Has("<|tool_response>"))
        {
            Remove("</s>", TokenType.Normal);
        }

        return ids;

        int IdOf(string text) => vocabulary.ByText.Find(Encoding.UTF8.GetBytes(text));
        bool Has(string text) => IdOf(text) is >= 0 and int id && ids.Contains(id);

        bool Add(string text)
        {
            int id = IdOf(text);
            if (id < 0)
            {
                return false;
            }

            types[id] = TokenType.Control;
            ids.Add(id);
            return true;
        }

        void Remove(string text, TokenType type)
        {
            int id = IdOf(text);
            if (id >= 0 && ids.Remove(id))
            {
                types[id] = type;
            }
        }
    }
}
