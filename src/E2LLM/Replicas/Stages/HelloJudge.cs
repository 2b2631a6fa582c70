using E2LLM.Replicas.Connections;
using E2LLM.Replicas.Recovery;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Stages;

/// <summary>Decides whether a stage takes a connection: the model, the device, the layers and the session must be what the dialer believes. Thread-safe.</summary>
internal static class HelloJudge
{
    /// <summary>Judges a hello; one of a driver opens its session.</summary>
    /// <returns>The refusal; null where the connection is welcome.</returns>
    public static RejectMessage? Judge(StageHost host, HelloMessage hello, PeerConnection connection, out StageSession? session)
    {
        session = null;
        List<IdentityDifference> differences = [.. host.Model.DifferencesFrom(hello.Model)];
        Compare("device", host.Name, hello.To);
        IStageExecutor? held = host.Exchange.Executor;
        bool isOrder = hello.Purpose == ConnectionPurpose.Load && host.Exchange.CanLoad;
        if (!isOrder)
        {
            Compare("layers", held?.Role.Layers.ToString() ?? "none", hello.Role.Layers.ToString());
            Compare("embedding", YesNo(held?.Role.HasEmbedding), YesNo(hello.Role.HasEmbedding));
            Compare("head", YesNo(held?.Role.HasHead), YesNo(hello.Role.HasHead));
            Compare("elementType", (held?.KvPool.Layout.ElementType ?? hello.ElementType).ToString(), hello.ElementType.ToString());
        }

        foreach (CodecName codec in hello.Codecs)
        {
            if (!host.Codecs.TryGet(codec.Id, out IKvBlockCodec? known) || known.Name != codec.Name)
            {
                differences.Add(new IdentityDifference("codec", host.Codecs.Describe(), codec.ToString()));
            }
        }

        if (differences.Count > 0)
        {
            return new RejectMessage("model or stage differ:", differences);
        }

        switch (hello.Purpose)
        {
            case ConnectionPurpose.Load:
                return hello.Session >= host.Exchange.Epoch ? null
                    : !host.Sessions.IsEmpty ? new RejectMessage($"a plan of epoch {host.Exchange.Epoch} holds this stage; the order is of epoch {hello.Session}.", [])
                    : new RejectMessage("nobody uses this stage, but it has seen a later order:", [new IdentityDifference(StageOrder.EpochField, $"{host.Exchange.Epoch}", $"{hello.Session}")]);
            case ConnectionPurpose.Driver:
                session = new StageSession(host, hello.Session, connection);
                if (!host.Sessions.TryAdd(hello.Session, session))
                {
                    return new RejectMessage("the session exists already.", []);
                }

                EndSuperseded(host, hello.Session);
                return null;
            default:
                return host.Sessions.TryGetValue(hello.Session, out session)
                    ? null
                    : new RejectMessage("the session does not exist here: it ended, or this device was restarted.", []);
        }

        void Compare(string field, string ours, string theirs)
        {
            if (!string.Equals(ours, theirs, StringComparison.Ordinal))
            {
                differences.Add(new IdentityDifference(field, ours, theirs));
            }
        }

        static string YesNo(bool? value) => value == true ? "yes" : "no";
    }

    /// <summary>Ends what older plans of the same dispatcher left here: before anything of the new session, since the loop keeps the order.</summary>
    private static void EndSuperseded(StageHost host, ulong session)
    {
        foreach (StageSession older in host.Sessions.Values.Where(older => SessionNumber.IsSuperseded(older.Id, session)))
        {
            host.Loop.Post(() => older.Evict("a newer plan of the same dispatcher has this device."));
        }
    }
}
