var builder = Host.CreateApplicationBuilder(args);
builder.Services.AddE2LLM(options => options.ModelPath = builder.Configuration["Model"]!);
builder.Services.AddHostedService<Worker>();
builder.Build().Run();
