namespace E2LLM.Tests.Support;

/// <summary>A folder of its own in the temporary one; it goes with this object, with all that is in it.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    /// <summary>Absolute path. Short: sockets lie in such folders, and their paths may have 108 bytes.</summary>
    public string Path { get; } = Directory.CreateTempSubdirectory("e2llm-").FullName;

    /// <summary>Path of a file or folder in it.</summary>
    public string In(string name) => System.IO.Path.Combine(Path, name);

    public void Dispose()
    {
        for (int attempt = 1; Directory.Exists(Path); attempt++)
        {
            try
            {
                Directory.Delete(Path, recursive: true);
            }
            catch (Exception busy) when (busy is IOException or UnauthorizedAccessException && attempt < 30)
            {
                // A child of a program that was ended may still write for a moment.
                Thread.Sleep(100);
            }
        }
    }
}
