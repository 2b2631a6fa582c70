// The two sides of a race as processes that load a model once and then answer questions.
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const tool = join(here, "..", "E2LLM.Benchmarks", "bin", "Release", "net10.0", "E2LLM.Benchmarks.dll");

/** A process that answers one line of JSON to one line of text. */
export class Side {
  constructor(program, args, env = {}, words = "inherit") {
    this.process = spawn(program, args, { stdio: ["pipe", "pipe", words], env: { ...process.env, ...env } });
    this.lines = createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
    this.ended = new Promise((resolve) => this.process.on("exit", resolve));
  }

  async answer() {
    const { value, done } = await this.lines.next();
    if (done) throw new Error(`${this.process.spawnargs.slice(0, 3).join(" ")} ended before its answer`);
    return JSON.parse(value);
  }

  ask(question) {
    this.process.stdin.write(`${question}\n`);
    return this.answer();
  }

  async end() {
    this.process.stdin.end();
    await this.ended;
  }
}

/** This engine; its first answer says what was loaded. */
export const ourSide = (file) => new Side("dotnet", [tool, "serve", file]);

/** llama.cpp; its first answer says which of its libraries it took. What it logs is dropped. */
export const peerSide = (file, statePrefix, env = {}) => new Side(process.execPath, [join(here, "goals-peer.mjs"), file, statePrefix], env, "ignore");
