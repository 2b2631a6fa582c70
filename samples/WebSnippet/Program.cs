using Microsoft.Extensions.AI;

var builder = WebApplication.CreateBuilder(args);
builder.Services.AddE2LLM(options => options.ModelPath = builder.Configuration["Model"]!);
var app = builder.Build();
app.MapGet("/ask", (string text, IChatClient chat, CancellationToken ct) =>
    TypedResults.ServerSentEvents(chat.GetStreamingResponseAsync(text, cancellationToken: ct).Select(update => update.Text)));
app.Run();
