using System.Text;

namespace E2LLM.Samples.EdgeCluster.Stages;

/// <summary>Which part of the model a device asks the host for.</summary>
/// <param name="Device">Who asks.</param>
/// <param name="Layers">Layers; none to learn only which model it is.</param>
/// <param name="Embedding">Whether the token embedding is wanted.</param>
/// <param name="Head">Whether the output head is wanted.</param>
internal sealed record SliceRequest(string Device, LayerRange Layers, bool Embedding, bool Head)
{
    public void Write(Stream stream)
    {
        using var buffer = new MemoryStream();
        using var writer = new BinaryWriter(buffer, Encoding.UTF8);
        writer.Write(Device);
        writer.Write(Layers.Start);
        writer.Write(Layers.End);
        writer.Write(Embedding);
        writer.Write(Head);
        stream.Write(buffer.ToArray());
    }

    public static SliceRequest Read(Stream stream)
    {
        using var reader = new BinaryReader(stream, Encoding.UTF8, leaveOpen: true);
        return new SliceRequest(reader.ReadString(), new LayerRange(reader.ReadInt32(), reader.ReadInt32()), reader.ReadBoolean(), reader.ReadBoolean());
    }
}
