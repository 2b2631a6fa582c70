// Does our GGUF reader accept anything that ggml's rejects? It must not.
//   node benchmarks/peers/gguf.mjs [--count 20000] [--seed 1]
// tests/E2LLM.Fuzz mutates valid files and writes those that our reader took; ggml's gguf_init_from_file judges each, in a
// process of its own, since ggml may abort. Exit code 1 where it rejects one. After `npm install` here (run.sh does that).
import koffi from "koffi";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const { values: options } = parseArgs({
  options: { count: { type: "string", default: "20000" }, seed: { type: "string", default: "1" }, judge: { type: "string" }, from: { type: "string", default: "0" } },
});

/** Child: prints the index of each file that ggml rejects; what it had reached is printed before each file, in case it aborts. */
function judge(folder, from) {
  const bins = join(here, "node_modules", "@node-llama-cpp", "linux-x64", "bins", "linux-x64");
  const base = koffi.load(join(bins, readdirSync(bins).find((name) => name.startsWith("libggml-base"))));
  koffi.struct("gguf_init_params", { no_alloc: "bool", ctx: "void *" });
  const init = base.func("void *gguf_init_from_file(const char *, gguf_init_params)");
  const free = base.func("void gguf_free(void *)");
  const names = readdirSync(folder).sort();
  for (let i = from; i < names.length; i++) {
    writeFileSync(1, `at ${i}\n`);
    const context = init(join(folder, names[i]), { no_alloc: true, ctx: null });
    if (context) free(context);
    else writeFileSync(1, `rejected ${i} ${names[i]}\n`);
  }
  writeFileSync(1, "done\n");
}

if (options.judge) {
  judge(options.judge, Number(options.from));
} else {
  const folder = mkdtempSync(join(tmpdir(), "e2llm-gguf-"));
  let rejected = 0, accepted = 0;
  try {
    const fuzz = ["run", "-c", "Release", "--project", join(here, "..", "..", "tests", "E2LLM.Fuzz"), "--", "gguf",
      "--iterations", options.count, "--seed", options.seed, "--accepted", folder];
    const ours = spawnSync("dotnet", fuzz, { encoding: "utf8" });
    if (ours.status !== 0) throw new Error(`the fuzzer failed: ${ours.stdout} ${ours.stderr}`);
    console.log(ours.stdout.trim());
    accepted = readdirSync(folder).length;
    for (let from = 0, done = false; !done;) {
      const child = spawnSync(process.execPath, [fileURLToPath(import.meta.url), "--judge", folder, "--from", String(from)], { encoding: "utf8", maxBuffer: 1 << 28 });
      for (const line of child.stdout.matchAll(/^rejected .*$/gm)) {
        console.log(line[0]);
        rejected++;
      }
      done = child.stdout.endsWith("done\n");
      if (!done) {
        const last = Number([...child.stdout.matchAll(/^at (\d+)$/gm)].at(-1)?.[1] ?? from);
        console.log(`ggml ended on file ${last} (${child.signal ?? child.status}): counted as rejected`);
        rejected++;
        from = last + 1;
        done = from >= accepted;
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  console.log(`${accepted} files that we accept, ${rejected} that ggml rejects`);
  process.exit(rejected === 0 ? 0 : 1);
}
