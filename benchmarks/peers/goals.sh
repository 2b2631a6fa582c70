#!/usr/bin/env bash
# Prints the table of goals (decode at no and at 2,000 tokens of context, batch of 8, prefill of 512; 1 and 2 threads) against llama.cpp from npm:
#   bash benchmarks/peers/goals.sh [options] FILE.gguf...        no arguments: usage
# For three shapes in four types on a quiet machine: call it again and again with the same arguments until the exit code is 0 (3 means that rows are left); each
# call ends within about 3 minutes, finished rows are kept in benchmarks/peers/goals.json, all together take about 20 minutes:
#   until bash benchmarks/peers/goals.sh models/*.gguf; do test $? -eq 3 || break; done
# With --pairs 2 about a third less. Start again by deleting goals.json. Needs what run.sh needs; E2LLM_SKIP_BUILD=1 takes what is built already.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ ! -d "$here/node_modules/koffi" ] || [ ! -d "$here/node_modules/@node-llama-cpp/linux-x64" ]; then
  (cd "$here" && npm install --ignore-scripts --no-audit --no-fund --no-package-lock >&2)
fi
if [ -z "${E2LLM_SKIP_BUILD:-}" ]; then
  build=$(dotnet build "$here/../E2LLM.Benchmarks" -c Release --nologo -nodeReuse:false 2>&1) || { printf "%s\n" "$build" >&2; exit 1; }
fi
exec node "$here/goals.mjs" "$@"
