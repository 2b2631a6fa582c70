namespace E2LLM.Replicas.Stages;

/// <summary>
/// Whether a decode replica computes layer 0 of a prompt's keys and values or has it sent, by measurement: what the link took, what reading took, what computing the layer took. Computing is chosen where the
/// link holds the text up by more than that: <c>max(0, n b m / r - p) - max(0, n b (m - 1) / r - p) > n c</c> for n positions of b bytes per layer as coded, m layers on the link that carries layer 0, r bytes per
/// second, p seconds of reading and c seconds of computing a token. While c is unknown, computing is tried wherever it could gain anything. Thread-safe.
/// </summary>
internal sealed class FirstLayerChooser
{
    /// <summary>Senders remembered; plans come and go, and what is forgotten is measured again.</summary>
    private const int MaxLinkCount = 64;

    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, Link> _links = [];
    private double _computeSecondsPerToken;

    /// <summary>Whether computing is quicker for a prompt.</summary>
    /// <param name="sender">Session of the replica that reads it.</param>
    /// <param name="tokenCount">Positions that move.</param>
    /// <param name="newTokenCount">Positions that are read, and not kept from earlier.</param>
    public bool Pays(ulong sender, int tokenCount, int newTokenCount)
    {
        lock (_gate)
        {
            if (!_links.TryGetValue(sender, out Link link))
            {
                return false;
            }

            double reading = newTokenCount * link.ReadingSecondsPerToken, layer = tokenCount * link.LayerTokenBytes / link.BytesPerSecond;
            double gain = Math.Max(0, (layer * link.LayerCount) - reading) - Math.Max(0, (layer * (link.LayerCount - 1)) - reading);
            return gain > tokenCount * _computeSecondsPerToken;
        }
    }

    /// <summary>Takes in what one prompt took.</summary>
    /// <param name="sender">Session of the replica that read it.</param>
    /// <param name="link">What its way took.</param>
    public void Sent(ulong sender, in Link link)
    {
        lock (_gate)
        {
            if (_links.Count >= MaxLinkCount && !_links.ContainsKey(sender))
            {
                _links.Clear();
            }

            _links[sender] = link;
        }
    }

    /// <summary>Takes in what computing layer 0 took, a token.</summary>
    public void Computed(double secondsPerToken)
    {
        lock (_gate)
        {
            _computeSecondsPerToken = secondsPerToken;
        }
    }

    /// <summary>The way of keys and values from one replica's first stage to another's.</summary>
    /// <param name="BytesPerSecond">What the link takes, as measured.</param>
    /// <param name="LayerTokenBytes">Keys and values of one token in one layer, as coded.</param>
    /// <param name="LayerCount">Layers that go over it, layer 0 included.</param>
    /// <param name="ReadingSecondsPerToken">What reading a prompt takes.</param>
    internal readonly record struct Link(double BytesPerSecond, double LayerTokenBytes, int LayerCount, double ReadingSecondsPerToken);
}
