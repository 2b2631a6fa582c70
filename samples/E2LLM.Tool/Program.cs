using System.Text;
using E2LLM.Tool.CommandLine;

// UTF-8 on every stream, whatever the locale says: prompts and texts are Unicode.
var utf8 = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false);
using var input = new StreamReader(Console.OpenStandardInput(), utf8);
using var output = new StreamWriter(Console.OpenStandardOutput(), utf8) { NewLine = "\n" };
using var error = new StreamWriter(Console.OpenStandardError(), utf8) { NewLine = "\n", AutoFlush = true };
return await ToolCommandLine.RunAsync(args, new ToolConsole(input, output, error, TerminalColumns()));

static int TerminalColumns()
{
    try
    {
        // A terminal without cursor control would show every state of a bar one after the other.
        return Console.IsErrorRedirected || Environment.GetEnvironmentVariable("TERM") == "dumb" ? 0 : Math.Max(0, Console.WindowWidth);
    }
    catch (IOException)
    {
        return 0;
    }
}
