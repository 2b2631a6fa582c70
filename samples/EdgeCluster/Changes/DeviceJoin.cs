using System.Diagnostics;
using System.Globalization;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Samples.EdgeCluster.Stages;

namespace E2LLM.Samples.EdgeCluster.Changes;

/// <summary>Lets a device join while text is generated: starts it, plans anew, and has the dispatcher go over to the plan. Thread-safe.</summary>
internal sealed class DeviceJoin(DeviceProfile device, int atToken, Membership membership, StageFleet fleet, Dispatcher dispatcher, TextWriter output)
{
    private volatile Task _joining = Task.CompletedTask;
    private int _tokens;

    /// <summary>Whether it came to it.</summary>
    public bool HasBegun => _tokens >= atToken;

    /// <summary>Ends when the plan with the device is in use.</summary>
    public Task Completion => _joining;

    /// <summary>Counts a token of any request.</summary>
    public void OnToken(CancellationToken ct)
    {
        if (Interlocked.Increment(ref _tokens) == atToken)
        {
            _joining = Task.Run(() => JoinAsync(ct), ct);
        }
    }

    private async Task JoinAsync(CancellationToken ct)
    {
        try
        {
            long start = Stopwatch.GetTimestamp();
            await fleet.AddAsync(device, ct);
            Say($"JOINED {device.Name} (process {fleet[device.Name].Id}, {device.MemoryBytes / 1e6:F1} MB) at token {atToken}; it holds nothing yet.");
            if (await membership.AddAsync(device, dispatcher.Replicas, ct) is { } plan)
            {
                await dispatcher.TakeUpAsync(plan, ct);
                Say($"TAKEN UP: the plan with {device.Name} is in use, {Stopwatch.GetElapsedTime(start).TotalSeconds:F1} s after it came.");
            }
        }
        catch (PeerLostException lost)
        {
            // The dispatcher noticed as well, and asks for a plan without it.
            Say($"The plan could not be taken up whole: {lost.Message}");
        }
    }

    private void Say(FormattableString line) => output.WriteLine("  " + line.ToString(CultureInfo.InvariantCulture));
}
