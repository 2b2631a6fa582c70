namespace E2LLM.Transfer;

/// <summary>Which half of a KV cache a slice carries. The numbers are part of the wire format: never renumber.</summary>
public enum KvPart
{
    /// <summary>Keys, after rotary embedding.</summary>
    Keys = 1,

    /// <summary>Values.</summary>
    Values = 2,
}
