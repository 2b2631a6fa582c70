using E2LLM.Transfer.Codecs;

namespace E2LLM.Transfer;

/// <summary>
/// Chooses the codec of each slice on one link, and learns from each: what it took to code, and how much smaller it got. Coding, sending and decoding overlap, so the slowest of the three
/// decides how fast raw bytes move: <c>1 / max(1 / coding, 1 / (gain x link rate), 1 / decoding)</c>. Not thread-safe.
/// </summary>
internal sealed class KvCodecChooser
{
    /// <summary>A codec is taken over raw only if it moves at least 3 % more: decoding and checking are not free.</summary>
    public const double WorthCoding = 0.97;

    /// <summary>So many slices go by the best known choice before another codec is tried again: code may have warmed up, data may have changed.</summary>
    private const int SlicesBetweenTrials = 32;

    /// <summary>A measurement is forgotten by this part at each new one, so that one lucky moment does not count for ever.</summary>
    private const double Forgetting = 1.05;

    /// <summary>Positions that 4 bits would hurt most: the first are looked at by all others, the last are what the answer refers to (KIVI's window, KVTC).</summary>
    private const int ExactFirstTokens = 4, ExactLastTokens = 64;

    private readonly Candidate[] _candidates;
    private readonly IKvBlockCodec _forEdges;
    private readonly bool _isMeasured;
    private int _slices;
    private int _nextTrial;

    /// <summary>Starts with no measurement: the first slices try each codec in turn.</summary>
    /// <param name="policy">What may be used.</param>
    /// <param name="isKnown">Whether the receiver knows a codec.</param>
    public KvCodecChooser(KvCodecPolicy policy, Func<IKvBlockCodec, bool> isKnown)
    {
        _isMeasured = policy.IsMeasured;
        _forEdges = isKnown(ExponentKvCodec.Instance) ? ExponentKvCodec.Instance : RawKvCodec.Instance;
        _candidates = [.. policy.Codecs.Where(codec => codec.Id != RawKvCodec.RawId && isKnown(codec)).Select(codec => new Candidate(codec))];
    }

    /// <summary>Bytes per second that the link takes, as measured; infinite while nothing is known.</summary>
    public double LinkBytesPerSecond { get; set; } = double.PositiveInfinity;

    /// <summary>Where the slice that starts at a position must end at the latest, so that it lies wholly in or wholly outside the positions kept exact.</summary>
    public int EdgeAfter(int firstToken, int messageEnd)
    {
        int tail = Math.Max(ExactFirstTokens, messageEnd - ExactLastTokens);
        return !KeepsEdges || firstToken >= tail ? messageEnd : firstToken < ExactFirstTokens ? ExactFirstTokens : tail;
    }

    /// <summary>The codec for the next slice, and whether it is a trial: then its decoding is to be timed too.</summary>
    public IKvBlockCodec Next(in KvBlockShape shape, int messageEnd, out bool isTrial)
    {
        isTrial = false;
        if (KeepsEdges && (shape.FirstToken < ExactFirstTokens || shape.FirstToken >= messageEnd - ExactLastTokens))
        {
            return _forEdges;
        }

        if (_candidates.Length == 0)
        {
            return RawKvCodec.Instance;
        }

        if (!_isMeasured)
        {
            return _candidates[0].Codec;
        }

        _slices++;
        if (_nextTrial < _candidates.Length || _slices >= SlicesBetweenTrials)
        {
            isTrial = true;
            _slices = 0;
            return _candidates[_nextTrial++ % _candidates.Length].Codec;
        }

        if (_nextTrial >= 2 * _candidates.Length)
        {
            _nextTrial = _candidates.Length;
        }

        return Best();
    }

    /// <summary>Takes in what coding (and, for a trial, decoding) a slice took. A codec that offers nothing tells so by the raw size.</summary>
    public void Learn(IKvBlockCodec codec, int rawBytes, int codedBytes, double codingSeconds, double? decodingSeconds)
    {
        foreach (Candidate candidate in _candidates)
        {
            if (candidate.Codec == codec)
            {
                candidate.Gain = (double)rawBytes / Math.Max(codedBytes, 1);
                candidate.CodingSecondsPerByte = Math.Min(candidate.CodingSecondsPerByte * Forgetting, codingSeconds / rawBytes);
                if (decodingSeconds is { } decoding)
                {
                    candidate.DecodingSecondsPerByte = Math.Min(candidate.DecodingSecondsPerByte * Forgetting, decoding / rawBytes);
                }
            }
        }
    }

    private bool KeepsEdges => !_isMeasured && _candidates is [{ Codec.Id: QuantizedKvCodec.Int4Id }];

    private IKvBlockCodec Best()
    {
        double leastSeconds = WorthCoding / LinkBytesPerSecond;
        IKvBlockCodec best = RawKvCodec.Instance;
        foreach (Candidate candidate in _candidates)
        {
            double seconds = Math.Max(1 / (candidate.Gain * LinkBytesPerSecond), Math.Max(candidate.CodingSecondsPerByte, candidate.DecodingSecondsPerByte));
            if (seconds < leastSeconds)
            {
                leastSeconds = seconds;
                best = candidate.Codec;
            }
        }

        return best;
    }

    private sealed class Candidate(IKvBlockCodec codec)
    {
        public IKvBlockCodec Codec => codec;

        public double Gain { get; set; } = 1;

        public double CodingSecondsPerByte { get; set; } = double.PositiveInfinity;

        public double DecodingSecondsPerByte { get; set; } = double.PositiveInfinity;
    }
}
