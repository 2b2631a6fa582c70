using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>Codec ids as bits of one word, as a welcome carries them: this library's ids 0 to 31 below, the host's own ids 128 to 159 above.</summary>
internal static class KvCodecBits
{
    private const int HostIds = 128, Half = 32;

    public static ulong Of(KvCodecSet codecs)
    {
        ulong bits = 0;
        for (int id = 0; id <= byte.MaxValue; id++)
        {
            if (codecs.TryGet((byte)id, out _))
            {
                bits |= Bit((byte)id);
            }
        }

        return bits;
    }

    public static bool Contains(ulong bits, byte id) => (bits & Bit(id)) != 0;

    private static ulong Bit(byte id) => id switch
    {
        < Half => 1UL << id,
        >= HostIds and < HostIds + Half => 1UL << (id - HostIds + Half),
        _ => 0,
    };
}
