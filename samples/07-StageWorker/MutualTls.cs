using System.Net.Security;
using System.Security.Cryptography.X509Certificates;

namespace E2LLM.Samples.StageWorker;

/// <summary>
/// Both sides show a certificate of one private authority. Who connects also checks that the certificate is for the device it wanted; who accepts takes any
/// of the authority's. Whatever the operating system trusts besides does not count.
/// </summary>
internal sealed class MutualTls : IDisposable
{
    /// <summary>A peer that connects and then says nothing holds a connection this long at most.</summary>
    private static readonly TimeSpan HandshakeLimit = TimeSpan.FromSeconds(10);

    private readonly X509Certificate2 _own;
    private readonly X509Certificate2 _authority;

    public MutualTls(X509Certificate2 own, X509Certificate2 authority) => (_own, _authority) = (own, authority);

    public static MutualTls Load(string certificatePath, string keyPath, string authorityPath)
    {
        using X509Certificate2 read = X509Certificate2.CreateFromPemFile(certificatePath, keyPath);

        // Windows wants a key that it has stored itself; this round trip gives it one, and changes nothing elsewhere.
        X509Certificate2 own = X509CertificateLoader.LoadPkcs12(read.Export(X509ContentType.Pkcs12), password: null);
        return new MutualTls(own, X509CertificateLoader.LoadCertificateFromFile(authorityPath));
    }

    /// <summary>Makes a connection that was opened to <paramref name="device"/> safe. Owns the stream, also when this fails.</summary>
    public async Task<Stream> ConnectAsync(Stream stream, string device, CancellationToken ct)
    {
        var secure = new SslStream(stream, leaveInnerStreamOpen: false);
        return await WithinLimitAsync(secure, limited => secure.AuthenticateAsClientAsync(
            new SslClientAuthenticationOptions { TargetHost = device, ClientCertificates = [_own], CertificateChainPolicy = OurAuthority() }, limited), ct);
    }

    /// <summary>Makes a connection that somebody opened to us safe. Owns the stream, also when this fails.</summary>
    public async Task<Stream> AcceptAsync(Stream stream, CancellationToken ct)
    {
        var secure = new SslStream(stream, leaveInnerStreamOpen: false);
        return await WithinLimitAsync(secure, limited => secure.AuthenticateAsServerAsync(
            new SslServerAuthenticationOptions { ServerCertificate = _own, ClientCertificateRequired = true, CertificateChainPolicy = OurAuthority() }, limited), ct);
    }

    public void Dispose()
    {
        _own.Dispose();
        _authority.Dispose();
    }

    private static async Task<Stream> WithinLimitAsync(SslStream secure, Func<CancellationToken, Task> handshake, CancellationToken ct)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(ct);
        limit.CancelAfter(HandshakeLimit);
        try
        {
            await handshake(limit.Token);
            return secure;
        }
        catch
        {
            await secure.DisposeAsync();
            throw;
        }
    }

    // A private authority publishes no revocation list: to lock a device out, change the authority.
    private X509ChainPolicy OurAuthority() => new()
    {
        TrustMode = X509ChainTrustMode.CustomRootTrust, CustomTrustStore = { _authority }, RevocationMode = X509RevocationMode.NoCheck,
    };
}
