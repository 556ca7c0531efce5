#!/usr/bin/env bash
# Train, calibrate, export and evaluate the published weights. See 'make weights'.
# With several configs each run starts from the weights of the one before; the last is exported.
# After a kill the same command resumes.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: tools/weights.sh 'CONFIG.yaml ...' DATA [DEVICE]    DATA holds train.npz.xz, valid.npz.xz" >&2
    exit 2
fi
configs=$1 data=$2 device=${3:-cpu} start=()
for config in $configs; do
    trained=checkpoints/$(basename "$config" .yaml)
    esr train --config "$config" --data "$data" --out "$trained" --device "$device" "${start[@]}"
    start=(--start "$trained")
done
release=$trained/release
mkdir -p "$release"
esr calibrate "$trained" --data "$data"
net=$(basename "$trained"/*.json .json)
esr export "$trained" "$release/$net" --fp16
esr export "$trained" "$release/$net-fp16.onnx" --fp16
esr export "$trained" "$release/$net-int8.onnx" --int8 "$data/train.npz.xz"
esr export "$trained" "$release/$net-int8-tensorrt.onnx" --int8 "$data/train.npz.xz" --symmetric
esr card "$release/$net-int8.onnx" --data "$data" --fp32 "$trained"
