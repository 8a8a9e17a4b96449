#!/usr/bin/env bash
# What finetrap does on an accelerator: checks first, then decoding beside transformers and training
# beside TRL, as one JSON file. Made for 8 minutes on one H200; needs nothing from the network, but
# the public data (FINETRAP_DATA) and `pip install -e .[test,peers]`. It has not been run on a GPU.
#
#   benchmarks/gpu.sh [--device auto] [--small] [OUT.json]
#
# --small: few layers, problems and rounds, to see that it works; its numbers mean nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD/src${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1
exec "${PYTHON:-python}" -m benchmarks.gpu_stages "$@"
