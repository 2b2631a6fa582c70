using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace E2LLM.Gguf;

/// <summary>
/// Writes the part of a model that one stage needs, as a GGUF file of its own: its tensors, all metadata, and what the rest told about the model, so that shape and identity stay
/// those of the whole. A device then needs no more disk than its share. Stateless; thread-safe.
/// </summary>
public static class GgufSlicer
{
    private const int PieceBytes = 1 << 20;

    /// <summary>Writes a slice. The output is only written to, front to back, so it may be a network stream.</summary>
    /// <param name="file">A whole model.</param>
    /// <param name="layers">Layers of the stage, possibly none.</param>
    /// <param name="embedding">Whether the stage embeds tokens: the first one does.</param>
    /// <param name="head">Whether the stage computes logits: the last one does. A tied head takes the embedding matrix along.</param>
    /// <param name="output">Takes the bytes; stays open.</param>
    /// <param name="cancellationToken">Looked at between pieces of a tensor.</param>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="layers"/> goes beyond the model.</exception>
    /// <exception cref="GgufFormatException">The file is no whole, sound model.</exception>
    /// <exception cref="NotSupportedException">The model is not supported, or the file is a slice itself.</exception>
    public static long Write(GgufFile file, LayerRange layers, bool embedding, bool head, Stream output, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(output);
        ModelIdentity identity = ModelIdentityReader.Read(file);
        ModelShape shape = identity.Shape;
        if (GgufSlice.Read(file.Metadata) is { } already)
        {
            throw new NotSupportedException($"The file is a slice itself (layers {already.Layers}); slices are cut from the whole model.");
        }

        if (layers.End > shape.LayerCount)
        {
            throw new ArgumentOutOfRangeException(nameof(layers), layers, $"The model has {shape.LayerCount} layers.");
        }

        var slice = new GgufSlice
        {
            Layers = layers, HasEmbedding = embedding, HasHead = head, TiedHead = shape.TiedHead, HasQkvBias = shape.HasQkvBias,
            HasRopeFactors = shape.HasRopeFrequencyFactors, VocabularySize = shape.VocabularySize, WeightsHash = identity.WeightsHash.ToArray(), DataHash = [],
        };
        GgufTensor[] tensors = [.. file.Tensors.Where(tensor => slice.Holds(tensor.Name))];
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (GgufTensor tensor in tensors)
        {
            Read(file, tensor, hash.AppendData, cancellationToken);
        }

        byte[] header = Header(file, slice with { DataHash = hash.GetHashAndReset() }, tensors);
        long written = 0;
        Take(header);
        foreach (GgufTensor tensor in tensors)
        {
            Take(new byte[Padding(written, file.Alignment)]);
            Read(file, tensor, Take, cancellationToken);
        }

        Take(new byte[Padding(written, file.Alignment)]);
        return written;

        void Take(ReadOnlySpan<byte> bytes)
        {
            output.Write(bytes);
            written += bytes.Length;
        }
    }

    private static byte[] Header(GgufFile file, GgufSlice slice, GgufTensor[] tensors)
    {
        using var header = new MemoryStream();
        using (var writer = new BinaryWriter(header, Encoding.UTF8, leaveOpen: true))
        {
            writer.Write("GGUF"u8);
            writer.Write(file.Version);
            writer.Write((long)tensors.Length);
            (string Key, GgufValueType Type, object Value)[] pairs =
            [
                ("first_layer", GgufValueType.UInt32, slice.Layers.Start), ("end_layer", GgufValueType.UInt32, slice.Layers.End),
                ("embedding", GgufValueType.Bool, slice.HasEmbedding), ("head", GgufValueType.Bool, slice.HasHead), ("tied_head", GgufValueType.Bool, slice.TiedHead),
                ("qkv_bias", GgufValueType.Bool, slice.HasQkvBias), ("rope_factors", GgufValueType.Bool, slice.HasRopeFactors), ("vocabulary_size", GgufValueType.UInt32, slice.VocabularySize),
                ("weights_hash", GgufValueType.String, Convert.ToHexStringLower(slice.WeightsHash)), ("data_hash", GgufValueType.String, Convert.ToHexStringLower(slice.DataHash)),
            ];
            writer.Write((long)(file.Metadata.Keys.Count + pairs.Length));
            writer.Write(file.EncodedPairs.Span);
            foreach ((string key, GgufValueType type, object value) in pairs)
            {
                WriteText(writer, GgufSlice.Prefix + key);
                writer.Write((int)type);
                WriteValue(writer, value);
            }

            long offset = 0;
            foreach (GgufTensor tensor in tensors)
            {
                WriteText(writer, tensor.Name);
                writer.Write(tensor.Dimensions.Count);
                foreach (long dimension in tensor.Dimensions)
                {
                    writer.Write(dimension);
                }

                writer.Write((int)tensor.Type);
                writer.Write(offset);
                offset += tensor.Bytes + Padding(tensor.Bytes, file.Alignment);
            }
        }

        return header.ToArray();
    }

    private static void WriteValue(BinaryWriter writer, object value)
    {
        switch (value)
        {
            case int number:
                writer.Write(number);
                break;
            case bool flag:
                writer.Write(flag);
                break;
            default:
                WriteText(writer, (string)value);
                break;
        }
    }

    private static void WriteText(BinaryWriter writer, string text)
    {
        writer.Write((long)Encoding.UTF8.GetByteCount(text));
        writer.Write(Encoding.UTF8.GetBytes(text));
    }

    private static int Padding(long bytes, int alignment) => (int)(-bytes & (alignment - 1));

    private static void Read(GgufFile file, GgufTensor tensor, Action<ReadOnlySpan<byte>> take, CancellationToken cancellationToken)
    {
        using GgufTensorView view = file.OpenTensor(tensor);
        int rows = (int)Math.Clamp(PieceBytes / tensor.RowBytes, 1, int.MaxValue);
        for (long first = 0; first < tensor.RowCount; first += rows)
        {
            cancellationToken.ThrowIfCancellationRequested();
            take(view.Rows(first, (int)Math.Min(rows, tensor.RowCount - first)));
        }
    }
}
