using System.Text.Json;
using System.Text.Json.Nodes;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Samples;

/// <summary>The web service's page in a real browser, used by keyboard.</summary>
public sealed class LivePageTests
{
    // WCAG 2.2, success criterion 1.4.3: relative luminance of sRGB, (L1 + 0.05) / (L2 + 0.05), at least 4.5 for text.
    private const string LowContrast = """
        (() => {
          const parse = colour => { const n = colour.match(/[\d.]+/g).map(Number); return { r: n[0], g: n[1], b: n[2], a: n[3] ?? 1 }; };
          const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
          const luminance = c => 0.2126 * linear(c.r) + 0.7152 * linear(c.g) + 0.0722 * linear(c.b);
          const ground = element => { for (; element; element = element.parentElement) { const c = parse(getComputedStyle(element).backgroundColor); if (c.a > 0) return c; } return { r: 255, g: 255, b: 255 }; };
          const found = [];
          for (const element of document.querySelectorAll("body *")) {
            const hasText = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()) || element.value;
            if (!hasText || element.disabled || element.closest("script, style, .skip")) continue;
            const a = luminance(parse(getComputedStyle(element).color)), b = luminance(ground(element));
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (ratio < 4.5) found.push(`${element.tagName}.${element.className} "${element.textContent.trim().slice(0, 20)}" ${ratio.toFixed(2)}`);
          }
          return found;
        })()
        """;

    [Fact]
    public async Task Page_InABrowser_ShowsTheDeploymentAndAnswersByKeyboard()
    {
        if (Browser.Find() is not { } program)
        {
            Console.WriteLine("skipped: there is no Chromium");
            return;
        }

        await using ChatService service = await ChatService.StartAsync();
        await using Browser browser = await Browser.StartAsync(program, 1240, 760);
        await browser.NavigateAsync(service.Address);
        await browser.WaitForAsync("document.querySelectorAll('article.replica').length === 2");
        Assert.Equal("2 replicas, all up", (await browser.EvaluateAsync("document.getElementById('state').textContent")).GetString());
        Assert.Equal(
            ["prompts Prefill desktop laptop", "answers Decode mini-pc board"],
            Texts(await browser.EvaluateAsync("[...document.querySelectorAll('article.replica')].map(replica => [...replica.querySelectorAll('h3, .role, .device')].map(part => part.textContent).join(' '))")));

        // The cursor is in the prompt from the start; Enter sends it as it stands.
        Assert.Equal("prompt", (await browser.EvaluateAsync("document.activeElement.id")).GetString());
        await browser.PressAsync("Enter", 13, "\r");
        await browser.WaitForAsync("document.querySelector('#log .cost')");
        Assert.True((await browser.EvaluateAsync("document.querySelector('#log .assistant').textContent.length")).GetInt32() > 40);
        Assert.Matches(@"^\d+ tokens, first after [\d.]+ m?s, then \d+ tokens/s$", (await browser.EvaluateAsync("document.querySelector('#log .cost').textContent")).GetString());
        await browser.EvaluateAsync("document.getElementById('clear').click()");
        await AskAsync(browser, "The princess opened the door and saw");
        await browser.EvaluateAsync("document.getElementById('clear').click()");
        await AskAsync(browser, "Tom had a new red ball.");
        await browser.WaitForAsync("document.getElementById('done').textContent === '3 served'");
        Assert.Matches("of the last 3 requests: latest", (await browser.EvaluateAsync("document.getElementById('ttftSpark').getAttribute('aria-label')")).GetString());

        // Shift+Tab from the prompt and Tab through the form: everything that can be used can be reached.
        Assert.Equal(["clear", "log", "prompt", "send"], Texts(await browser.EvaluateAsync(
            "[...document.querySelectorAll('button, textarea, [tabindex=\"0\"], a[href]')].filter(part => !part.disabled && !part.matches('.skip')).map(part => part.id)")));
        await AssertNamedAsync(browser);
        Assert.Empty(Texts(await browser.EvaluateAsync("performance.getEntriesByType('resource').map(entry => entry.name).filter(name => !name.startsWith(location.origin))")));
        foreach (string scheme in new[] { "dark", "light" })
        {
            await browser.SendAsync("Emulation.setEmulatedMedia", new JsonObject
            {
                ["features"] = new JsonArray(new JsonObject { ["name"] = "prefers-color-scheme", ["value"] = scheme }, new JsonObject { ["name"] = "prefers-reduced-motion", ["value"] = "reduce" }),
            });
            Findings.AssertNone(Texts(await browser.EvaluateAsync(LowContrast)).Select(text => $"{scheme}: {text}"));
            await KeepAsync(browser, scheme);
        }

        // Requests of others, while they run.
        Task<(System.Net.HttpStatusCode Status, JsonElement Body)>[] others = [.. Enumerable.Range(0, 12).Select(i => service.PostAsync(
            "/v1/completions", $$"""{"model":"{{ChatService.Model}}","prompt":"One day","max_tokens":400,"temperature":1,"seed":{{i}}}"""))];
        await browser.WaitForAsync("Number(document.getElementById('inFlight').textContent) > 3 && [...document.querySelectorAll('.Decode [role=meter]')].every(meter => Number(meter.getAttribute('aria-valuenow')) > 0)");
        await KeepAsync(browser, "busy");
        Assert.All(await Task.WhenAll(others), other => Assert.Equal(System.Net.HttpStatusCode.OK, other.Status));
        await browser.WaitForAsync("document.getElementById('inFlight').textContent === '0'");

        // A narrow screen has one column and nothing that sticks out.
        await browser.SendAsync("Emulation.setDeviceMetricsOverride", new JsonObject { ["width"] = 390, ["height"] = 800, ["deviceScaleFactor"] = 1, ["mobile"] = true });
        Assert.True((await browser.EvaluateAsync("document.documentElement.scrollWidth <= 390")).GetBoolean());
        await KeepAsync(browser, "narrow");
        Assert.Empty(browser.Complaints);
    }

    private static async Task AskAsync(Browser browser, string text)
    {
        int before = (await browser.EvaluateAsync("document.querySelectorAll('#log .cost').length")).GetInt32();
        await browser.SendAsync("Input.insertText", new JsonObject { ["text"] = text });
        await browser.PressAsync("Enter", 13, "\r");
        await browser.WaitForAsync($"document.querySelectorAll('#log .cost').length === {before + 1}");
    }

    /// <summary>What a screen reader is told: every part that can be used or tells a value has a name.</summary>
    private static async Task AssertNamedAsync(Browser browser)
    {
        JsonElement tree = await browser.SendAsync("Accessibility.getFullAXTree");
        string[] mustHaveName = ["button", "textbox", "meter", "image", "img", "article", "region", "log", "heading", "link"];
        var nodes = tree.GetProperty("nodes").EnumerateArray().Where(node => !node.GetProperty("ignored").GetBoolean()).Select(node => (
            Role: node.GetProperty("role").GetProperty("value").GetString()!,
            Name: node.TryGetProperty("name", out JsonElement name) && name.TryGetProperty("value", out JsonElement value) ? value.GetString() : "")).ToList();
        Findings.AssertNone(nodes.Where(node => mustHaveName.Contains(node.Role) && string.IsNullOrEmpty(node.Name)).Select(node => node.Role));
        Assert.Equal(4, nodes.Count(node => node.Role == "meter"));
        Assert.Single(nodes, node => node.Role == "log");
        Assert.Single(nodes, node => node.Role == "main");
    }

    /// <summary>Keeps a picture in the folder that E2LLM_SCREENSHOTS names, to look at or to put into the README.</summary>
    private static async Task KeepAsync(Browser browser, string name)
    {
        if (Environment.GetEnvironmentVariable("E2LLM_SCREENSHOTS") is { Length: > 0 } folder)
        {
            await File.WriteAllBytesAsync(Path.Combine(folder, $"{name}.png"), await browser.ScreenshotAsync());
        }
    }

    private static string[] Texts(JsonElement array) => [.. array.EnumerateArray().Select(text => text.GetString()!)];
}
