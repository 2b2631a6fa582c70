using System.Globalization;
using E2LLM.Deployment;
using E2LLM.Replicas.Connections;
using E2LLM.Replicas.Stages;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Recovery;

/// <summary>Tells a device which layers a plan gives to it, and waits until it holds them.</summary>
internal static class StageOrder
{
    /// <summary>Field of the refusal of a device that nobody uses and that has seen an order of a later epoch.</summary>
    public const string EpochField = "epoch";

    /// <summary>Times that an epoch is raised for one device: once is enough unless another dispatcher is at it too.</summary>
    private const int MaxRaiseCount = 3;

    /// <summary>Epochs are believed up to here, far above any clock: a device must not drive them to where they end.</summary>
    private const ulong MaxEpoch = 1UL << 62;

    /// <summary>Fields of a refusal that loading other layers mends.</summary>
    private static readonly string[] RoleFields = ["layers", "embedding", "head"];

    /// <summary>Whether a device refused only because it holds other layers than asked for.</summary>
    public static bool Mends(HandshakeRejectedException rejected) =>
        rejected.Differences.Count > 0 && rejected.Differences.All(difference => RoleFields.Contains(difference.Field));

    /// <summary>
    /// Gives the order to one stage of a replica. A device that nobody uses may have seen a later epoch: of a dispatcher that is gone and whose clock was ahead. It says so, and the order is repeated with
    /// an epoch above that; a device that is in use refuses for good.
    /// </summary>
    /// <returns>The epoch that the device obeyed; at least <paramref name="epoch"/>.</returns>
    /// <exception cref="HandshakeRejectedException">The device holds another model, cannot load, or a newer plan uses it.</exception>
    /// <exception cref="PeerLostException">It cannot be reached, went away, or failed to load.</exception>
    public static async Task<ulong> GiveAsync(
        StagePlan stage, int index, ulong epoch, ModelIdentity model, PeerConnector connect, ReplicaOptions options, CancellationToken cancellationToken)
    {
        for (int raised = 0; ; raised++)
        {
            try
            {
                await GiveOnceAsync(stage, index, epoch, model, connect, options, cancellationToken).ConfigureAwait(false);
                return epoch;
            }
            catch (HandshakeRejectedException refused) when (raised < MaxRaiseCount && SeenEpoch(refused) is { } seen && seen >= epoch)
            {
                epoch = seen + 1;
            }
        }
    }

    private static ulong? SeenEpoch(HandshakeRejectedException refused) =>
        refused.Differences is [{ Field: EpochField } epoch] && ulong.TryParse(epoch.Theirs, NumberStyles.None, CultureInfo.InvariantCulture, out ulong seen) && seen < MaxEpoch ? seen : null;

    private static async Task GiveOnceAsync(
        StagePlan stage, int index, ulong epoch, ModelIdentity model, PeerConnector connect, ReplicaOptions options, CancellationToken cancellationToken)
    {
        var loaded = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var hello = new HelloMessage
        {
            Purpose = ConnectionPurpose.Load, From = options.Name, To = stage.Device, Session = epoch, Nonce = 0,
            Role = new StageRole(stage.Layers, stage.Embedding, stage.Head), ElementType = options.KvElementType, Model = model,
        };
        try
        {
            DialedPeer dialed = await DialedPeer.OpenAsync(connect, hello, options.Connections, OnFrame, cancellationToken).ConfigureAwait(false);
            await using (dialed.Connection.ConfigureAwait(false))
            {
                await Task.WhenAny(loaded.Task, dialed.Connection.Completion).WaitAsync(cancellationToken).ConfigureAwait(false);
                if (!loaded.Task.IsCompleted)
                {
                    throw dialed.Connection.Error ?? new PeerLostException(stage.Device, index, PeerLossReason.Closed, "it closed the connection before its layers were loaded.");
                }

                await loaded.Task.ConfigureAwait(false);
            }
        }
        catch (PeerLostException lost)
        {
            throw lost.At(index);
        }

        void OnFrame(in Frame frame)
        {
            switch (frame.Kind)
            {
                case FrameKind.Loaded:
                    SequenceMessage.Read(frame);
                    loaded.TrySetResult();
                    break;
                case FrameKind.Fault:
                    loaded.TrySetException(new PeerLostException(stage.Device, index, PeerLossReason.Failed, FaultMessage.Read(frame).Text));
                    break;
                default:
                    throw new KvTransferException("kind", frame.Offset + 6, $"A frame of kind {frame.Kind} is not expected of a stage that loads.");
            }
        }
    }
}
