using System.IO.Compression;
using System.Reflection.Metadata;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>What a registry shows of a package, and what a debugger and an editor find in it.</summary>
public sealed partial class PackageContentTests
{
    private static readonly string[] Runtime = ["Microsoft.Extensions.Logging.Abstractions", "System.Numerics.Tensors"];
    private static readonly string[] Adapter =
        ["E2LLM", "Microsoft.Extensions.AI.Abstractions", "Microsoft.Extensions.Diagnostics.HealthChecks", "Microsoft.Extensions.Hosting.Abstractions",
            "Microsoft.Extensions.Logging.Abstractions", "Microsoft.Extensions.Options", "System.Numerics.Tensors"];

    [Fact]
    public async Task Packages_HoldWhatARegistryADebuggerAndAnEditorNeed()
    {
        using PackageFeed feed = await PackageFeed.PackAsync("src/E2LLM", "src/E2LLM.Extensions.AI", "samples/E2LLM.Tool");
        foreach ((string id, string folder, string[]? dependencies) in new[]
        {
            ("E2LLM", "lib/net10.0", Runtime), ("E2LLM.Extensions.AI", "lib/net10.0", Adapter), ("E2LLM.Tool", "tools/net10.0/any", null),
        })
        {
            using ZipArchive package = ZipFile.OpenRead(Path.Combine(feed.Folder, "feed", $"{id}.{feed.Version}.nupkg"));
            XElement metadata = XDocument.Parse(Text(package, $"{id}.nuspec")).Root!.Elements().Single(element => element.Name.LocalName == "metadata");
            Assert.Equal(("MIT", "expression", "README.md", "icon.png"), (Value("license"), Child("license").Attribute("type")!.Value, Value("readme"), Value("icon")));
            Assert.All(new[] { "description", "tags", "authors" }, name => Assert.NotEmpty(Value(name)));
            Assert.Matches("^[0-9a-f]{40}$", Child("repository").Attribute("commit")!.Value);
            Assert.NotNull(package.GetEntry("icon.png"));
            Assert.Contains(package.Entries, entry => entry.FullName == $"{folder}/{id}.dll");
            Findings.AssertNone(RelativeLinks(Text(package, "README.md")).Select(link => $"{id}: {link}"));
            if (dependencies is not null)
            {
                Assert.NotEmpty(XDocument.Parse(Text(package, $"{folder}/{id}.xml")).Descendants("member"));
                Assert.Equal(dependencies, Child("dependencies").Descendants().Attributes("id").Select(attribute => attribute.Value).Order(StringComparer.Ordinal));
            }

            using ZipArchive symbols = ZipFile.OpenRead(Path.Combine(feed.Folder, "feed", $"{id}.{feed.Version}.snupkg"));
            string[] documents = Documents(symbols.Entries.Single(entry => Path.GetFileName(entry.FullName) == $"{id}.pdb"));
            Assert.True(documents.Length > 10);
            if (SampleRun.Configuration == "Release")
            {
                // No path of the machine that built it.
                Assert.All(documents, document => Assert.StartsWith("/_", document, StringComparison.Ordinal));
            }

            XElement Child(string name) => metadata.Elements().Single(element => element.Name.LocalName == name);
            string Value(string name) => Child(name).Value;
        }
    }

    private static string Text(ZipArchive package, string name)
    {
        using var reader = new StreamReader(package.GetEntry(name)!.Open());
        return reader.ReadToEnd();
    }

    private static string[] Documents(ZipArchiveEntry pdb)
    {
        using var bytes = new MemoryStream();
        using (Stream stream = pdb.Open())
        {
            stream.CopyTo(bytes);
        }

        bytes.Position = 0;
        using MetadataReaderProvider provider = MetadataReaderProvider.FromPortablePdbStream(bytes);
        MetadataReader reader = provider.GetMetadataReader();
        return [.. reader.Documents.Select(handle => reader.GetString(reader.GetDocument(handle).Name))];
    }

    private static IEnumerable<string> RelativeLinks(string readme) =>
        Link().Matches(readme).Select(match => match.Groups["target"].Value).Where(target => !target.StartsWith("https://", StringComparison.Ordinal));

    [GeneratedRegex(@"\]\((?<target>[^)]+)\)|<img[^>]*src=""(?<target>[^""]+)""")]
    private static partial Regex Link();
}
