#!/usr/bin/env bash
# From images to what ships: train, calibrate, export, measure.  See 'make weights'.
# Run again after a kill it goes on with the training.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: tools/weights.sh CONFIG.yaml DATA [DEVICE]    DATA holds train.npz.xz, valid.npz.xz" >&2
    exit 2
fi
config=$1 data=$2 device=${3:-cpu}
name=$(basename "$config" .yaml)
trained=checkpoints/$name
release=$trained/release
mkdir -p "$release"
esr train --config "$config" --data "$data" --out "$trained" --device "$device"
esr calibrate "$trained" --data "$data"
net=$(basename "$trained"/*.json .json)
esr export "$trained" "$release/$net" --fp16
esr export "$trained" "$release/$net-fp16.onnx" --fp16
esr export "$trained" "$release/$net-int8.onnx" --int8 "$data/train.npz.xz"
esr export "$trained" "$release/$net-int8-tensorrt.onnx" --int8 "$data/train.npz.xz" --symmetric
esr card "$release/$net-int8.onnx" --data "$data" --fp32 "$trained"
