using E2LLM.Generation;

using TextGenerator generator = TextGenerator.Load(args[0]);
await foreach (GeneratedToken token in generator.GenerateAsync("Once upon a time"))
{
    Console.Write(token.Text);
}
