using E2LLM.Simulation;
using E2LLM.Simulation.Workloads;
using E2LLM.Tests.Support;
using Xunit.Abstractions;

namespace E2LLM.Tests.Simulation;

public class RequestTraceTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData("AzureLLMInferenceTrace_code.csv", 8819, 2.567, 2047.8, 27.9)]
    [InlineData("AzureLLMInferenceTrace_conv.csv", 19366, 5.530, 1154.7, 211.1)]
    [InlineData("mooncake_conversation_trace.jsonl", 12031, 3.40, 12035, 343)]
    [InlineData("mooncake_synthetic_trace.jsonl", 3993, 3.91, 15325, 149)]
    public void Read_OfAPublicTrace_HasItsPublishedCountsAndMeans(string file, int count, double rate, double prompt, double generated)
    {
        if (SharedData.Find("data/traces") is not { } folder)
        {
            output.WriteLine("skipped: no ../shared");
            return;
        }

        using StreamReader reader = File.OpenText(Path.Combine(folder, file));
        IReadOnlyList<SimulatedRequest> trace = RequestTrace.Read(reader);
        Assert.Equal(count, trace.Count);
        Assert.Equal(0, trace[0].ArrivalSeconds);
        Assert.InRange(RequestTrace.MeanRate(trace) / rate, 0.99, 1.01);
        Assert.InRange(trace.Average(r => r.PromptTokens) / prompt, 0.999, 1.001);
        Assert.InRange(trace.Average(r => r.OutputTokens) / generated, 0.99, 1.01);
    }

    [Fact]
    public void Read_OfOurOwnFormats_KeepsTheOrderOfEqualTimes()
    {
        SimulatedRequest[] expected = [new(0, 3, 1), new(0, 5, 2), new(0.5, 7, 0)];
        Assert.Equal(expected, RequestTrace.Read(new StringReader("arrivalSeconds,promptTokens,outputTokens\n10,3,1\n10,5,2\n10.5,7,0\n")));
        Assert.Equal(expected, RequestTrace.Read(new StringReader(
            "{\"arrivalSeconds\": 1.5, \"promptTokens\": 7, \"outputTokens\": 0}\n{\"arrivalSeconds\": 1, \"promptTokens\": 3, \"outputTokens\": 1}\n\n"
            + "{\"arrivalSeconds\": 1, \"promptTokens\": 5, \"outputTokens\": 2}")));
    }

    [Theory]
    [InlineData("", 1, 1)]
    [InlineData("a,b,c\n1,2,3", 1, 1)]
    [InlineData("arrivalSeconds,promptTokens,outputTokens\n", 1, 1)]
    [InlineData("arrivalSeconds,promptTokens,outputTokens\n1,2", 2, 4)]
    [InlineData("arrivalSeconds,promptTokens,outputTokens\n1,2,3\n1,-2,3", 3, 3)]
    [InlineData("arrivalSeconds,promptTokens,outputTokens\n1,2,3.5", 2, 5)]
    [InlineData("arrivalSeconds,promptTokens,outputTokens\nnever,2,3", 2, 1)]
    [InlineData("arrivalSeconds,promptTokens,outputTokens\nNaN,2,3", 2, 1)]
    [InlineData("arrivalSeconds,promptTokens,outputTokens\n1,99999999999,3", 2, 3)]
    [InlineData("{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 2}\n{\"timestamp\": 0, ", 2, 18)]
    [InlineData("{\"timestamp\": 0, \"input_length\": -1, \"output_length\": 2}", 1, 18)]
    [InlineData("{\"timestamp\": \"x\", \"input_length\": 1, \"output_length\": 2}", 1, 2)]
    [InlineData("{\"timestamp\": 0, \"output_length\": 2}", 1, 1)]
    [InlineData("{}", 1, 1)]
    [InlineData("[1]", 1, 1)]
    public void Read_OfAMalformedTrace_NamesLineAndColumn(string text, int line, int column)
    {
        var error = Assert.Throws<RequestTraceFormatException>(() => RequestTrace.Read(new StringReader(text)));
        output.WriteLine(error.Message);
        Assert.Equal((line, column), ((int)error.Line, error.Column));
    }

    [Fact]
    public void Scale_ByTwo_HalvesEveryTime()
    {
        SimulatedRequest[] trace = [new(0, 1, 1), new(3, 1, 1)];
        Assert.Equal([0, 1.5], RequestTrace.Scale(trace, 2).Select(r => r.ArrivalSeconds));
        Assert.Throws<ArgumentOutOfRangeException>(() => RequestTrace.Scale(trace, 0));
    }
}
