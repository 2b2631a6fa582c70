using E2LLM.Replicas.Connections;

namespace E2LLM.Replicas.Stages;

/// <summary>The links over which one session's keys and values leave for decode stages. Used on the stage loop.</summary>
internal sealed class KvLinks
{
    private readonly Dictionary<(string Peer, ulong Session), KvLink> _links = [];

    /// <summary>Sends the keys and values that a step has just stored in one layer; the layers behind it are still being computed.</summary>
    public void Export(StageSession session, StepMessage step, StageSequence[] sequences, int layer)
    {
        for (int i = 0; i < sequences.Length; i++)
        {
            SequenceOpenMessage open = sequences[i].Open;

            // The first step takes along what was kept from earlier sequences and need not be computed.
            int end = Math.Min(step.Items[i].FirstPosition + step.Items[i].TokenCount, open.PromptTokenCount);
            int first = step.Items[i].FirstPosition == sequences[i].StartPosition ? 0 : step.Items[i].FirstPosition, count = end - first;
            if (count <= 0)
            {
                continue;
            }

            foreach (KvTarget target in open.Targets)
            {
                LayerRange layers = target.Role.Layers.Intersect(session.Host.Executor.Role.Layers);
                bool begins = first == 0 && layer == session.Host.Executor.Role.Layers.Start;
                if (layers.Count == 0 && begins)
                {
                    // Nothing of ours for this one: confirmed by having nothing to send.
                    session.TargetConfirmed(sequences[i], 0);
                }

                if (layers.Contains(layer))
                {
                    LinkTo(session, target, canBeNew: first == 0 && layer == layers.Start).Send(sequences[i], target, layer, first, count);
                }
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
