using Microsoft.Extensions.AI;

internal sealed class Worker(IChatClient chat, IHostApplicationLifetime host) : BackgroundService
{
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        ChatResponse answer = await chat.GetResponseAsync("Once upon a time", cancellationToken: stoppingToken);
        Console.WriteLine(answer.Text);
        host.StopApplication();
    }
}
