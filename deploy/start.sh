#!/bin/sh
# Starts a command of gpukeeper in its container. Without a key, but with the simulator of Compose's
# profile `demo` beside it, the service buys there: no key, no money.
set -eu
if [ -z "${NOVITA_API_KEY:-}${NOVITA_API_KEY_FILE:-}" ] && getent hosts simulator >/dev/null; then
  export NOVITA_API_KEY=simulated
  export NOVITA_BASE_URL=http://simulator:9090
  export GPUKEEPER_API_KEYS="${GPUKEEPER_API_KEYS:-demo-key-for-this-machine}"
  export GPUKEEPER_WEBHOOK_URL="${GPUKEEPER_WEBHOOK_URL:-http://listener:9091/}"
  export GPUKEEPER_POLL_INTERVAL="${GPUKEEPER_POLL_INTERVAL:-1}"
fi
exec gpukeeper "$@"
