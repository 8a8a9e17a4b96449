#!/usr/bin/env bash
# What finetrap does on an accelerator: checks first, then decoding beside transformers and training
# beside TRL, as one JSON file. Made for 8 minutes on one H200; needs nothing from the network, but
# the public data (FINETRAP_DATA) and `pip install -e .[test]`. It has not been run on a GPU yet.
#
#   benchmarks/gpu.sh [--device auto] [--small] OUT.json
#
# --small: few layers, problems and rounds, to see that it works; its numbers mean nothing.
set -euo pipefail
device=auto small=no out=
while [ $# -gt 0 ]; do
  case $1 in
    --device) device=$2; shift 2 ;;
    --small) small=yes; shift ;;
    -*) echo "gpu.sh: no such option: $1; give --device NAME, --small and a file" >&2; exit 2 ;;
    *) out=$1; shift ;;
  esac
done
[ -n "$out" ] || { echo "gpu.sh: name the JSON file to be written" >&2; exit 2; }
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
export FINETRAP_DEVICE=$device PYTHONPATH=$PWD/src${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1
room=$(mktemp -d); trap 'rm -rf "$room"' EXIT

checks=passed
"$python" -m pytest tests/hf -m device -p no:randomly -q --junitxml="$room/checks.xml" || checks=failed
dtypes="fp32 bf16" methods="full lora dora"
decode=(--problems 256) train=(--rows 32 --rounds 3)
if [ $small = yes ]; then
  dtypes=fp32 methods=lora
  decode=(--problems 4 --new-tokens 4 --layers 1 --rounds 1)
  train=(--rows 4 --rounds 1 --layers 1 --settings 4)
fi
failed=()
for dtype in $dtypes; do
  "$python" -m benchmarks.gpu "${decode[@]}" --dtype "$dtype" --out "$room/records.jsonl" ||
    failed+=("decoding $dtype")
  # shellcheck disable=SC2086
  "$python" -m benchmarks.training "${train[@]}" --methods $methods --dtype "$dtype" \
    --out "$room/records.jsonl" || failed+=("training $dtype")
done
"$python" - "$room" "$out" "$checks" "$device" "${failed[@]+"${failed[@]}"}" <<'PY'
import json, sys
from pathlib import Path

import torch

from benchmarks.measured import machine
from finetrap.backends.hf import device

room, out, checks, asked, *failed = sys.argv[1:]
records = Path(room, "records.jsonl")
lines = records.read_text("utf-8").splitlines() if records.is_file() else []
device.chosen()
memory = device.memory()
told = {
    "device": asked,
    "accelerator": device.title(),
    "accelerator_bytes": memory and memory[1],
    "checks": checks,
    "failed": failed,
    "torch": torch.__version__,
    "machine": machine(),
    "records": [json.loads(line) for line in lines],
}
Path(out).write_text(json.dumps(told, indent=1) + "\n", "utf-8")
print(f"{out}: checks {checks}, {len(lines)} tables, {len(failed)} failed")
sys.exit(checks == "failed" or bool(failed))
PY
