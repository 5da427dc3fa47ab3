#!/bin/sh
# Starts a command of gpukeeper in its container.
set -eu
if [ "${1:-}" = migrate ] && getent hosts demo-has-a-file-of-its-own >/dev/null; then
  echo 'This is for a real account. The demo: docker compose -f compose.demo.yaml up' >&2
  exit 78
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
