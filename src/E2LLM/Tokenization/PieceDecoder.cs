using System.Text;

namespace E2LLM.Tokenization;

/// <summary>Streams the text of token pieces: bytes that begin a UTF-8 sequence are held back until it is whole. One per sequence; not thread-safe.</summary>
internal sealed class PieceDecoder(TokenPieces pieces) : ITokenDecoder
{
    // The runtime's decoder keeps the begun sequence and replaces what is invalid by U+FFFD.
    private readonly Decoder _utf8 = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: false).GetDecoder();
    private bool _atStart = true;

    public string Append(int id)
    {
        ReadOnlySpan<byte> piece = pieces.Checked(id);
        if (piece.IsEmpty)
        {
            return string.Empty;
        }

        if (_atStart && pieces.DropsLeadingSpace && piece[0] == (byte)' ')
        {
            piece = piece[1..];
        }

        _atStart = false;
        return Convert(piece, flush: false);
    }

    public string Flush()
    {
        _atStart = true;
        return Convert([], flush: true);
    }

    private string Convert(ReadOnlySpan<byte> piece, bool flush)
    {
        int count = _utf8.GetCharCount(piece, flush);
        if (count == 0 && !flush)
        {
            // Still to be handed over, so that the decoder remembers the bytes.
            _utf8.GetChars(piece, [], flush);
            return string.Empty;
        }

        var characters = new char[count];
        _utf8.GetChars(piece, characters, flush);
        return new string(characters);
    }
}
