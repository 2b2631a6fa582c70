using E2LLM.Replicas.Connections;

namespace E2LLM.Replicas.Stages;

/// <summary>The links over which one session's keys and values leave for decode stages. Used on the stage loop.</summary>
internal sealed class KvLinks
{
    private readonly Dictionary<(string Peer, ulong Session), KvLink> _links = [];

    /// <summary>
    /// Sends the keys and values that a step has just stored in one layer; the layers behind it are still being computed. A stage that is told to send
    /// afterwards waits for the last layer of the last step of the prompt, and sends all then.
    /// </summary>
    public void Export(StageSession session, StepMessage step, StageSequence[] sequences, int layer)
    {
        LayerRange own = session.Host.Executor.Role.Layers;
        bool afterwards = !session.Host.SendsWhilePrefilling;
        for (int i = 0; i < sequences.Length; i++)
        {
            (int first, int prompt) = (step.Items[i].FirstPosition, sequences[i].Open.PromptTokenCount);
            int end = Math.Min(first + step.Items[i].TokenCount, prompt);
            if (first >= prompt || (afterwards && (end < prompt || layer < own.End - 1)))
            {
                continue;
            }

            // The first step takes along what was kept from earlier sequences and need not be computed.
            first = afterwards || first == sequences[i].StartPosition ? 0 : first;
            LayerRange ready = afterwards ? own : new LayerRange(layer, layer + 1);
            foreach (KvTarget target in sequences[i].Open.Targets)
            {
                LayerRange wanted = sequences[i].Open.Moved(target.Role.Layers.Intersect(own));
                if (wanted.Count == 0 && first == 0 && ready.Contains(own.Start))
                {
                    // Nothing of ours for this one: confirmed by having nothing to send.
                    session.TargetConfirmed(sequences[i], 0);
                }

                // What the target holds already stays here.
                int from = Math.Max(first, target.FirstPosition);
                LayerRange sent = wanted.Intersect(ready);
                for (int next = sent.Start; next < sent.End && from < end; next++)
                {
                    bool begins = from == target.FirstPosition && next == wanted.Start;
                    LinkTo(session, target, canBeNew: begins).Send(sequences[i], target, next, from, end - from, begins);
                }
            }
        }
    }

    /// <summary>A sequence was closed: what of it no target has confirmed is given up, here and there.</summary>
    public void GiveUp(StageSequence sequence)
    {
        foreach (KvTarget target in sequence.UnsentTargetCount > 0 ? sequence.Open.Targets : [])
        {
            if (_links.TryGetValue((target.Peer, target.Session), out KvLink? link))
            {
                link.GiveUp(sequence, target);
            }
        }
    }

    /// <summary>Closes all links; what is still to be sent is given up.</summary>
    public Task CloseAsync()
    {
        KvLink[] links = [.. _links.Values];
        _links.Clear();
        return Task.WhenAll(links.Select(link => link.DisposeAsync().AsTask()));
    }

    /// <summary>The link to a decode stage; one that broke is replaced, but not in the middle of a message.</summary>
    private KvLink LinkTo(StageSession session, KvTarget target, bool canBeNew)
    {
        if (!_links.TryGetValue((target.Peer, target.Session), out KvLink? link) || (link.IsOver && canBeNew))
        {
            _links[(target.Peer, target.Session)] = link = new KvLink(session, target);
        }

        return link;
    }
}
