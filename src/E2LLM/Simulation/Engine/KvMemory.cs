using E2LLM.Costs;
using E2LLM.Simulation.Models;

namespace E2LLM.Simulation.Engine;

/// <summary>
/// KV memory of one replica in blocks of <see cref="StageMemory.BlockTokenCount"/> positions: a reservation holds on every stage or on none. Not thread-safe.
/// </summary>
internal sealed class KvMemory(StageModel[] stages)
{
    private readonly double[] _used = new double[stages.Length];
    private double _hostUsed;

    /// <summary>Bytes in use over all stages.</summary>
    public double UsedBytes => _used.Sum();

    /// <summary>The share in use of the fullest stage.</summary>
    public double FullestShare
    {
        get
        {
            double share = 0;
            for (int i = 0; i < _used.Length; i++)
            {
                share = Math.Max(share, stages[i].KvCapacityBytes > 0 ? _used[i] / stages[i].KvCapacityBytes : 1);
            }

            return share;
        }
    }

    /// <summary>Positions that <paramref name="tokens"/> occupy: whole blocks.</summary>
    public static int RoundUp(int tokens) => checked((int)StageMemory.WholeBlocks(tokens));

    /// <summary>Whether a reservation that grows from <paramref name="held"/> to <paramref name="wanted"/> positions fits now.</summary>
    public bool Fits(int held, int wanted)
    {
        for (int i = 0; i < _used.Length; i++)
        {
            if (_used[i] + stages[i].KvBytes(wanted) - stages[i].KvBytes(held) > stages[i].KvCapacityBytes)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Changes a reservation of <paramref name="held"/> positions into one of <paramref name="wanted"/>; false, and no change, where it does not fit.</summary>
    public bool TryResize(int held, int wanted)
    {
        if (wanted > held && !Fits(held, wanted))
        {
            return false;
        }

        for (int i = 0; i < _used.Length; i++)
        {
            _used[i] += stages[i].KvBytes(wanted) - stages[i].KvBytes(held);
        }

        return true;
    }

    /// <summary>Seconds to move a sequence to host memory (or back), or null where there is no room. Every stage moves its share at once.</summary>
    public double? TrySwapOut(int tokens)
    {
        double seconds = 0, bytes = 0;
        foreach (StageModel stage in stages)
        {
            double stageBytes = stage.KvBytes(tokens);
            if (stage.HostBytesPerSecond <= 0 || _hostUsed + stageBytes > stage.HostCapacityBytes)
            {
                return null;
            }

            seconds = Math.Max(seconds, stageBytes / stage.HostBytesPerSecond);
            bytes = Math.Max(bytes, stageBytes);
        }

        _hostUsed += bytes;
        return seconds;
    }

    /// <summary>Gives host memory back.</summary>
    public void SwapIn(int tokens) => _hostUsed = Math.Max(0, _hostUsed - stages.Max(s => s.KvBytes(tokens)));
}
