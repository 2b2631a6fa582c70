using System.Globalization;
using E2LLM.Tests.Support;
using E2LLM.Transfer;

namespace E2LLM.Tests.Transfer.Codecs;

/// <summary>The test vectors that WIRE_FORMAT.md promises.</summary>
public sealed class WireFormatVectorTests
{
    [Fact]
    public void Vectors_OfTheDocument_AreWhatTheCodecsWriteAndRead()
    {
        string[][] rows = [.. File.ReadAllLines(Repository.PathOf("src/E2LLM/Transfer/WIRE_FORMAT.md"))
            .Select(line => line.Split('|', StringSplitOptions.TrimEntries))
            .Where(cells => cells.Length == 8 && Enum.TryParse<KvElementType>(cells[2], out _))];
        Assert.Equal(8, rows.Length);
        Assert.All(rows, row =>
        {
            IKvBlockCodec codec = Codec(row[1]);
            int[] sizes = [.. row[4].Split('x').Select(size => int.Parse(size, CultureInfo.InvariantCulture))];
            var shape = new KvBlockShape(Enum.Parse<KvElementType>(row[2]), row[3] == "keys" ? KvPart.Keys : KvPart.Values, 0, sizes[0], sizes[1], sizes[2]);
            byte[] raw = Convert.FromHexString(row[5]), coded = new byte[codec.MaxCodedBytes(shape)], back = new byte[raw.Length];
            Assert.Equal(shape.RawBytes, raw.Length);
            int bytes = codec.Encode(shape, raw, coded);
            Assert.Equal(row[6], Convert.ToHexString(coded.AsSpan(0, bytes)));
            Assert.True(codec.TryDecode(shape, coded.AsSpan(0, bytes), back));
            Assert.True(!codec.IsLossless || raw.AsSpan().SequenceEqual(back));
        });

        static IKvBlockCodec Codec(string name)
        {
            for (int id = 0; id < 256; id++)
            {
                if (KvCodecSet.Default.TryGet((byte)id, out IKvBlockCodec? codec) && codec.Name == name)
                {
                    return codec;
                }
            }

            throw new InvalidOperationException($"No codec is named {name}.");
        }
    }
}
