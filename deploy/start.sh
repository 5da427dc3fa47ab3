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
# Which addresses Docker gives is known only here.
if [ -z "${GPUKEEPER_TRUSTED_PROXIES+set}" ] && [ -n "${TRUSTED_BY_DEFAULT:-}" ]; then
  GPUKEEPER_TRUSTED_PROXIES="$(python -I - "$TRUSTED_BY_DEFAULT" "${ROUTES:-/proc/net/route}" <<'END'
import ipaddress, sys
rows = [line.split() for line in open(sys.argv[2])][1:]
read = lambda word: ipaddress.ip_address(bytes.fromhex(word)[::-1])
gateways = [str(read(row[2])) for row in rows if int(row[2], 16)]
networks = [f"{read(row[1])}/{read(row[7])}" for row in rows if not int(row[2], 16)]
print(",".join(gateways if sys.argv[1] == "gateway" else networks))
END
  )"
  export GPUKEEPER_TRUSTED_PROXIES
fi
exec gpukeeper "$@"
