#!/usr/bin/env bash
# Packs a runs folder without weights, locks and what is being measured: pack.sh RUNS NAME
set -euo pipefail
cd "$(dirname "$1")"
[ "$(basename "$1")" = runs ] || { echo "the folder must be called runs" >&2; exit 2; }
out="$(git -C "$OLDPWD" rev-parse --show-toplevel)/studies/results/$2.tar.xz"
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --exclude='runs/.[!s]*' \
    --exclude='runs/report' --exclude=model --exclude=adapter -cJf "$out" runs
ls -l "$out"
