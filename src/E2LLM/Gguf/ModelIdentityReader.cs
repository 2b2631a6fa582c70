using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace E2LLM.Gguf;

/// <summary>
/// Reads from a GGUF file what machines compare before they work on one model together. The weights enter by samples: each tensor's name, type,
/// dimensions and three short pieces of its data, so that reading the identity of a large file touches few pages. Two trainings of one model
/// differ in nearly every value, so samples tell them apart; a damaged byte elsewhere is for a checksum of the file. Stateless; thread-safe.
/// </summary>
public static class ModelIdentityReader
{
    private const int SampleBytes = 1024;

    /// <summary>The identity of the model in <paramref name="file"/>.</summary>
    /// <exception cref="GgufFormatException">The file is no whole model.</exception>
    /// <exception cref="NotSupportedException">The model is not supported.</exception>
    public static ModelIdentity Read(GgufFile file)
    {
        ArgumentNullException.ThrowIfNull(file);
        return Read(file, tensor =>
        {
            using GgufTensorView view = file.OpenTensor(tensor);
            return Sample(view, tensor);
        });
    }

    /// <summary>The identity where samples of tensors come from elsewhere. A slice brings the whole model's fingerprint along.</summary>
    internal static ModelIdentity Read(GgufFile file, Func<GgufTensor, byte[]> sample) => new(
        ModelShapeReader.Read(file), TokenizerHash(file.Metadata), GgufSlice.Read(file.Metadata)?.WeightsHash ?? WeightsHash(file, sample));

    /// <summary>Three short pieces of a tensor's data.</summary>
    internal static byte[] Sample(GgufTensorView view, GgufTensor tensor)
    {
        int count = (int)Math.Min(SampleBytes, tensor.Bytes);
        byte[] samples = new byte[3 * count];
        Copy(view, tensor, 0, samples.AsSpan(0, count));
        Copy(view, tensor, (tensor.Bytes - count) / 2, samples.AsSpan(count, count));
        Copy(view, tensor, tensor.Bytes - count, samples.AsSpan(2 * count));
        return samples;
    }

    private static byte[] TokenizerHash(GgufMetadata metadata)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (string key in metadata.Keys.Where(key => key.StartsWith("tokenizer.", StringComparison.Ordinal)).Order(StringComparer.Ordinal))
        {
            (GgufValueType type, GgufValueType elementType, ReadOnlyMemory<byte> bytes) = metadata.EncodedValue(key);
            AppendString(hash, key);
            hash.AppendData([(byte)type, type == GgufValueType.Array ? (byte)elementType : (byte)0]);
            AppendNumber(hash, bytes.Length);
            hash.AppendData(bytes.Span);
        }

        return hash.GetHashAndReset();
    }

    private static byte[] WeightsHash(GgufFile file, Func<GgufTensor, byte[]> sample)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Span<byte> word = stackalloc byte[sizeof(uint)];
        foreach (GgufTensor tensor in file.Tensors.OrderBy(tensor => tensor.Name, StringComparer.Ordinal))
        {
            AppendString(hash, tensor.Name);
            BinaryPrimitives.WriteUInt32LittleEndian(word, (uint)tensor.Type);
            hash.AppendData(word);
            BinaryPrimitives.WriteUInt32LittleEndian(word, (uint)tensor.Dimensions.Count);
            hash.AppendData(word);
            foreach (long dimension in tensor.Dimensions)
            {
                AppendNumber(hash, dimension);
            }

            AppendNumber(hash, tensor.Bytes);
            hash.AppendData(sample(tensor));
        }

        return hash.GetHashAndReset();
    }

    /// <summary>Copies bytes of a tensor row by row; a sample may span several.</summary>
    private static void Copy(GgufTensorView view, GgufTensor tensor, long start, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            ReadOnlySpan<byte> row = view.Rows(start / tensor.RowBytes, 1)[(int)(start % tensor.RowBytes)..];
            int count = Math.Min(row.Length, destination.Length);
            row[..count].CopyTo(destination);
            destination = destination[count..];
            start += count;
        }
    }

    private static void AppendString(IncrementalHash hash, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        Span<byte> length = stackalloc byte[sizeof(ushort)];
        BinaryPrimitives.WriteUInt16LittleEndian(length, checked((ushort)bytes.Length));
        hash.AppendData(length);
        hash.AppendData(bytes);
    }

    private static void AppendNumber(IncrementalHash hash, long value)
    {
        Span<byte> word = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteInt64LittleEndian(word, value);
        hash.AppendData(word);
    }
}
