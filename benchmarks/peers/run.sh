#!/usr/bin/env bash
# Compares e2llm with llama.cpp on GGUF files: bash benchmarks/peers/run.sh [options] FILE... (no arguments: usage).
# Needs the .NET 10 SDK, Node.js 20 or later and, the first time, the npm registry; x64 Linux.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ ! -d "$here/node_modules/koffi" ] || [ ! -d "$here/node_modules/@node-llama-cpp/linux-x64" ]; then
  (cd "$here" && npm install --ignore-scripts --no-audit --no-fund --no-package-lock >&2)
fi
build=$(dotnet build "$here/../../samples/E2LLM.Tool" -c Release --nologo -nodeReuse:false 2>&1) || { printf "%s\n" "$build" >&2; exit 1; }
exec node "$here/compare.mjs" "$@"
