using System.Buffers;
using E2LLM.Execution;
using E2LLM.KvCaching;
using E2LLM.Transfer;

namespace E2LLM.Samples.Snippets;

/// <summary>What attention remembers of a sequence, as bytes from one executor to another.</summary>
internal static class ShipKeysValues
{
    public static KvCache Run(KvCache kv, LayerRangeExecutor other, ModelIdentity identity, int[] ids)
    {
        var message = new ArrayBufferWriter<byte>();
        KvTransferWriter.Write(message, kv, identity, ids);

        KvCache received = other.CreateSequence();
        new KvTransferReader(new ReadOnlySequence<byte>(message.WrittenMemory)).Import(received, identity, ids);
        return received;
    }
}
