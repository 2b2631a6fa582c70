// Our side of the comparison: the command line tool, called as a user calls it.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
export const tool = join(root, "samples", "E2LLM.Tool", "bin", "Release", "net10.0", "E2LLM.Tool.dll");

/** Runs a program that answers with one JSON value on stdout; anything else is an error that shows its last words. */
export function ask(program, args, input = undefined) {
  const result = spawnSync(program, args, { encoding: "utf8", input, maxBuffer: 1 << 29 });
  if (result.error) throw result.error;
  if (result.status !== 0) {
    const words = `${result.stderr}`.trim().split("\n").slice(-2).join(" | ");
    throw new Error(`${args.slice(0, 3).join(" ")}: exit code ${result.status ?? result.signal}: ${words}`);
  }
  return JSON.parse(result.stdout);
}

export const e2llm = (...args) => ask("dotnet", [tool, ...args.map(String), "--json"]);

/** The float32 rows of a raw logits file. */
export function readFloats(file) {
  const bytes = readFileSync(file);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}
