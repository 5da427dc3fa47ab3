#!/bin/sh
# From an order to its deletion with documented commands only (docs/cli.md), as a script would do it.
# GPUKEEPER_URL and GPUKEEPER_API_KEY say where the service is. Every step fails the script.
set -eu

field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

gpukeeper offers --product "RTX 4090 24GB" >/dev/null

gpukeeper up scripted --product "RTX 4090 24GB" --template tpl-basic --max-price 1 \
  --label job=night --idempotency-key scripted-1 --wait -o json >up.json
id=$(field id <up.json)
test "$(field status <up.json)" = running

# The same key again buys nothing.
test "$(gpukeeper up scripted --product "RTX 4090 24GB" --template tpl-basic --max-price 1 \
  --label job=night --idempotency-key scripted-1 -o json | field id)" = "$id"

gpukeeper events -f "$id" -o json >followed.jsonl &
follower=$!
trap 'kill "$follower" 2>/dev/null || true' EXIT

gpukeeper ls --status running | grep -q scripted
gpukeeper show scripted | grep -q "job=night"
gpukeeper ssh scripted | grep -q "^ssh "

gpukeeper restart scripted >/dev/null
gpukeeper wait scripted
gpukeeper stop scripted >/dev/null
gpukeeper wait scripted --until stopped
gpukeeper start scripted >/dev/null
gpukeeper wait scripted

gpukeeper webhooks test >/dev/null
delivery=$(gpukeeper deliveries ls --instance "$id" --limit 1 -o json |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["deliveries"][0]["id"])')
gpukeeper deliveries redeliver "$delivery" >/dev/null
gpukeeper deliveries show "$delivery" | grep -q "$delivery"
gpukeeper orphans ls

gpukeeper rm scripted --yes --wait >/dev/null
test "$(gpukeeper show "$id" -o json | field status)" = deleted

# The follower has heard of everything that the history has.
gpukeeper events "$id" -o json |
  python3 -c 'import json, sys; [print(event["id"]) for event in json.load(sys.stdin)["events"]]' >history
until python3 -c 'import json, sys; [print(json.loads(line)["id"]) for line in sys.stdin]' \
  <followed.jsonl 2>/dev/null | cmp -s - history; do :; done
echo "$id"
