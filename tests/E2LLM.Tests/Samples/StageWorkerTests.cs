using System.Net;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using E2LLM.Deployment;
using E2LLM.Generation;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Samples.StageWorker;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>Workers as services of their own, with certificates of their own authority.</summary>
public sealed class StageWorkerTests : IAsyncLifetime
{
    private readonly string _folder = Directory.CreateTempSubdirectory("e2llm-stage-").FullName;
    private bool _hasOpenSsl;

    public async Task InitializeAsync()
    {
        _hasOpenSsl = OperatingSystem.IsLinux() && (File.Exists("/usr/bin/openssl") || File.Exists("/usr/local/bin/openssl"));
        if (!_hasOpenSsl)
        {
            Console.WriteLine("skipped: certificates are made with OpenSSL, on Linux");
            return;
        }

        string script = Repository.PathOf("samples/07-StageWorker/make-certificates.sh");
        (await SampleRun.OfProgram("sh", [script, Path.Combine(_folder, "ours"), "first", "last", "dispatcher"])).Succeeded();
        (await SampleRun.OfProgram("sh", [script, Path.Combine(_folder, "theirs"), "dispatcher"])).Succeeded();
        await File.WriteAllTextAsync(Path.Combine(_folder, "plan.json"), TwoStages().ToJson());
    }

    public Task DisposeAsync()
    {
        Directory.Delete(_folder, recursive: true);
        return Task.CompletedTask;
    }

    [Fact]
    public async Task Workers_WithCertificates_ServeAndRefuseStrangers()
    {
        if (!_hasOpenSsl)
        {
            return;
        }

        // The first stage connects to the last, so the last must have its port first.
        await using StageWorkerProcess last = Start("last");
        int lastPort = await last.PortAsync();
        await using StageWorkerProcess first = Start("first", ("Stage__Peers__last", $"127.0.0.1:{lastPort}"));
        var ports = new Dictionary<string, int>(StringComparer.Ordinal) { ["first"] = await first.PortAsync(), ["last"] = lastPort };
        using GgufFile file = GgufFile.Open(ToolRun.Q8Model);
        ModelIdentity identity = ModelIdentityReader.Read(file);

        using MutualTls stranger = Tls("theirs", "dispatcher");
        await Assert.ThrowsAsync<PeerLostException>(() => Dispatcher.ConnectAsync(TwoStages(), identity, Connector(stranger, ports)));
        await Assert.ThrowsAsync<PeerLostException>(() => Dispatcher.ConnectAsync(TwoStages(), identity, (peer, ct) => new(Address(ports[peer]).ConnectAsync(ct))));
        await RefusesWithoutACertificateAsync(ports["first"]);
        using MutualTls ours = Tls("ours", "dispatcher");
        PeerLostException swapped = await Assert.ThrowsAsync<PeerLostException>(() => Dispatcher.ConnectAsync(
            TwoStages(), identity, Connector(ours, new Dictionary<string, int> { ["first"] = ports["last"], ["last"] = ports["first"] })));
        Assert.Equal(PeerLossReason.Unreachable, swapped.Reason);
        await first.WaitForAsync("Refused a connection");

        // The stranger had the stages' addresses and still got nothing; who has a certificate of theirs is served.
        using TextGenerator alone = TextGenerator.Load(ToolRun.Q8Model);
        var prompt = alone.Tokenizer.Encode("Once upon a time");
        var expected = new List<int>();
        await foreach (GeneratedToken token in alone.GenerateAsync(prompt, new GenerationOptions { MaxTokenCount = 24 }))
        {
            expected.Add(token.Id);
        }

        var ids = new List<int>();
        await using (Dispatcher dispatcher = await Dispatcher.ConnectAsync(TwoStages(), identity, Connector(ours, ports)))
        {
            await foreach (int id in dispatcher.Serve(new ServingRequest { PromptIds = prompt, MaxTokenCount = 24 }))
            {
                ids.Add(id);
            }
        }

        Assert.Equal(expected, ids);
        Assert.Equal((0, 0), (await first.StopAsync(), await last.StopAsync()));
    }

    [Fact]
    public async Task Unit_ExecStartAsWritten_StartsListensAndStopsAtSigTerm()
    {
        if (!_hasOpenSsl)
        {
            return;
        }

        // systemd itself does not run where tests do, so its part is done here: the unit's line, word by word, in the unit's folder, with the settings of its file.
        string[] unit = await File.ReadAllLinesAsync(Repository.PathOf("samples/07-StageWorker/e2llm-stage.service"));
        Assert.Contains("Type=exec", unit);
        string[] command = Assert.Single(unit, line => line.StartsWith("ExecStart=", StringComparison.Ordinal))["ExecStart=".Length..].Split(' ');
        Assert.True(Path.IsPathRooted(command[0]), "systemd wants an absolute path");
        await using StageWorkerProcess worker = StageWorkerProcess.Start(command, Settings("first"));
        Assert.InRange(await worker.PortAsync(), 1, 65535);
        Assert.Equal(0, await worker.StopAsync());

        await using StageWorkerProcess lost = StageWorkerProcess.Start(command, Settings("first", ("Stage__Name", "unknown")));
        InvalidOperationException ended = await Assert.ThrowsAsync<InvalidOperationException>(() => lost.PortAsync());
        Assert.Contains("has no stage on 'unknown'", ended.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Unit_WhereSystemdIsInstalled_IsValid()
    {
        if (!File.Exists("/usr/bin/systemd-analyze"))
        {
            Console.WriteLine("skipped: no systemd-analyze");
            return;
        }

        SampleRun run = await SampleRun.OfProgram("systemd-analyze", ["verify", Repository.PathOf("samples/07-StageWorker/e2llm-stage.service")]);
        Assert.DoesNotContain("e2llm-stage.service", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Worker_WrongSettings_NamesEachAndExitsWith2()
    {
        SampleRun run = await SampleRun.Of("07-StageWorker", "--Stage:Listen=nowhere", "--Stage:Peers:other=host", $"--Stage:Model={ToolRun.Q8Model}");
        Assert.Equal(2, run.ExitCode);
        Assert.All(
            new[] { "Stage:Name is required", "Stage:Plan names no file", "Stage:Certificate names no file", "Stage:Listen 'nowhere'", "Stage:Peers:other 'host'" },
            expected => Assert.Contains(expected, run.Error, StringComparison.Ordinal));
        Assert.DoesNotContain("Stage:Model", run.Error, StringComparison.Ordinal);
    }

    private static DeploymentPlan TwoStages() => new()
    {
        Planner = "by hand",
        ModelName = "tinytales",
        Objective = new PlanObjective { Kind = "none" },
        Replicas =
        [
            new ReplicaPlan
            {
                Name = "r0",
                Role = ReplicaRole.Mixed,
                Stages =
                [
                    new StagePlan { Device = "first", Layers = new LayerRange(0, 2), Embedding = true },
                    new StagePlan { Device = "last", Layers = new LayerRange(2, 6), Head = true },
                ],
            },
        ],
    };

    /// <summary>TLS itself, and trust in the authority, are not enough: who connects must show a certificate.</summary>
    private async Task RefusesWithoutACertificateAsync(int port)
    {
        using X509Certificate2 authority = X509CertificateLoader.LoadCertificateFromFile(Path.Combine(_folder, "ours", "authority.pem"));
        await using var secure = new SslStream(await Address(port).ConnectAsync(CancellationToken.None));
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        await Assert.ThrowsAnyAsync<IOException>(async () =>
        {
            // With TLS 1.3 this side may think that it is through; the first thing that it hears is the refusal, an alert or the end.
            await secure.AuthenticateAsClientAsync(
                new SslClientAuthenticationOptions
                {
                    TargetHost = "first",
                    CertificateChainPolicy = new X509ChainPolicy
                    {
                        TrustMode = X509ChainTrustMode.CustomRootTrust, CustomTrustStore = { authority }, RevocationMode = X509RevocationMode.NoCheck,
                    },
                },
                limit.Token);
            await secure.ReadExactlyAsync(new byte[1], limit.Token);
        });
        Assert.False(limit.IsCancellationRequested);
    }

    private static PeerAddress Address(int port) => new(IPAddress.Loopback.ToString(), port);

    private static PeerConnector Connector(MutualTls tls, Dictionary<string, int> ports) =>
        async (peer, ct) => await tls.ConnectAsync(await Address(ports[peer]).ConnectAsync(ct), peer, ct);

    private MutualTls Tls(string authority, string name) => MutualTls.Load(
        Path.Combine(_folder, authority, $"{name}.pem"), Path.Combine(_folder, authority, $"{name}.key"), Path.Combine(_folder, authority, "authority.pem"));

    private StageWorkerProcess Start(string name, params (string Setting, string Value)[] more) =>
        StageWorkerProcess.Start(["dotnet", SampleRun.Assembly("07-StageWorker")], Settings(name, more));

    private Dictionary<string, string> Settings(string name, params (string Setting, string Value)[] more)
    {
        var settings = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["Stage__Name"] = name,
            ["Stage__Model"] = ToolRun.Q8Model,
            ["Stage__Plan"] = Path.Combine(_folder, "plan.json"),
            ["Stage__Listen"] = "127.0.0.1:0",
            ["Stage__Certificate"] = Path.Combine(_folder, "ours", $"{name}.pem"),
            ["Stage__Key"] = Path.Combine(_folder, "ours", $"{name}.key"),
            ["Stage__Authority"] = Path.Combine(_folder, "ours", "authority.pem"),
        };
        foreach ((string setting, string value) in more)
        {
            settings[setting] = value;
        }

        return settings;
    }
}
