#!/usr/bin/env bash
# Installs a wheel, with the locked versions, in an empty environment outside the checkout, and draws a picture with it.
# Usage: .ci/wheel_test.sh WHEEL
set -euo pipefail

wheel=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
root=$PWD
uv=$root/.venv/bin/uv
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT

sed -E -n 's/^([A-Za-z0-9._-]+)(\[[a-z,]+\])?(==[^\\]*).*/\1\3/p' requirements.lock >"$elsewhere/versions.txt"
cd "$elsewhere"
"$root/.venv/bin/python" -m venv --without-pip fresh
"$uv" pip install --quiet --python fresh/bin/python --constraint versions.txt "$wheel"
fresh/bin/dalle-serve models
fresh/bin/dalle-serve generate "an avocado" --seed 1 --out pictures
test -s "$(find pictures -name '*.png' | head -n 1)"
echo "the wheel draws, outside its checkout"
