#!/bin/sh
# The whole path on the demo data: demo.sh MEDIAPIPE_PYTHON. `make demo` calls it.
set -eu
say() { printf '\n== %s\n' "$1"; }

say "The baseline: a bag of words"
python benchmarks/bag_of_words.py

say "Fine-tune SqueezeBERT on the demo data and convert it to int8"
rm -rf runs/demo
python tools/convert.py --quantize int8

say "The same model in float32, to compare with"
python tools/convert.py --quantize float32

say "Verify the int8 package on held-out text: the test split"
python tools/verify.py --model runs/demo --package runs/demo-int8.tflite --data sqb_tf/demo --split test

say "Open it in MediaPipe's TextClassifier"
python tools/predict.py --package runs/demo-int8.tflite --input examples/requests.txt
if "$1" -c 'from mediapipe.tasks.python.text import TextClassifier' 2>/dev/null; then
    "$1" tests/peers/mediapipe/classify.py --package runs/demo-int8.tflite \
        --input examples/requests.txt --json runs/demo-mediapipe.json
else
    echo "skipped: MediaPipe does not import here; it needs libEGL, libGLESv2, libGL and GLib of the system"
    echo "(Debian, Ubuntu: libegl1 libgles2 libgl1 libglib2.0-0), then run make demo again"
fi

say "Time both on this machine: fixed lengths, and the dev split's texts at their own"
python tools/benchmark.py --package runs/demo-float32.tflite runs/demo-int8.tflite \
    --lengths 16,64 --data sqb_tf/demo --limit 200 --report runs/demo-benchmark
