#!/usr/bin/env bash
# nats-server 2.9.10 (Debian's 2.9.10-1+b3), spoken to in its own protocol.
#
# What happens: a work queue has the subjects `t.>` and one consumer over all of
# them. A purge with `"filter": "t.first"` deletes the messages of that subject
# alone, as it should. But the consumer then takes everything that was stored
# before the purge for done: messages of `t.second` stay in the stream, no pull
# brings them, and `num_pending` is 0. Those stored after the purge come.
#
# Why one guesses wrong: the purge names a subject, and its answer counts the
# messages of that subject alone; the stream's state says that the others are
# there. Nothing says that the position of each consumer was moved as well, past
# messages that a work queue promises to keep until they are acknowledged.
#
# Where that stands: seen by running this; no issue is known to us. Deleting the
# messages one by one (STREAM.MSG.DELETE) moves nothing.
#
# Harmless: a server of its own, on 127.0.0.1, with a store that goes with it.
# It needs apt-get, dpkg and python3.
set -euo pipefail
dir=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$dir"' EXIT
# Debian 12's package, unpacked and not installed.
(cd "$dir" && apt-get download -q nats-server=2.9.10-1+b3 >/dev/null && dpkg -x nats-server_*.deb server)
PATH=$dir/server/usr/sbin:$dir/server/usr/bin:$PATH
nats-server --version
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
nats-server -js -sd "$dir" -a 127.0.0.1 -p "$port" >"$dir/log" 2>&1 &
server=$!
cat >"$dir/seen.py" <<'PYTHON'
import json, socket, sys, time

for _ in range(100):
    try:
        sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
        break
    except OSError:
        time.sleep(0.1)
lines = sock.makefile("rb")

def send(text):
    sock.sendall(text.encode())

def read():
    """The next message: its reply subject, and its body."""
    while True:
        words = lines.readline().decode().split()
        if words[0] == "PING":
            send("PONG\r\n")
        elif words[0] in ("MSG", "HMSG"):
            head = int(words[-2]) if words[0] == "HMSG" else 0
            body = lines.read(int(words[-1]) + 2)[head:-2]
            plain = 4 + (words[0] == "HMSG")
            return words[3] if len(words) > plain else "", body

def ask(subject, body=""):
    send(f"PUB {subject} in {len(body)}\r\n{body}\r\n")
    return json.loads(read()[1])

def api(what, body=None):
    answer = ask("$JS.API." + what, json.dumps(body) if body else "")
    assert not answer.get("error"), answer
    return answer

def pull():
    """The messages that a pull brings, until there are no more."""
    body, came = json.dumps({"batch": 100, "no_wait": True}), []
    send(f"PUB $JS.API.CONSUMER.MSG.NEXT.S.C in {len(body)}\r\n{body}\r\n")
    while True:
        reply, data = read()
        if not reply:
            return came
        came.append(data.decode())

lines.readline()
send('CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB in 1\r\n')
api("STREAM.CREATE.S", {"name": "S", "subjects": ["t.>"], "retention": "workqueue", "storage": "file"})
consumer = {"durable_name": "C", "ack_policy": "explicit", "deliver_policy": "all", "filter_subject": "t.>"}
api("CONSUMER.DURABLE.CREATE.S.C", {"stream_name": "S", "config": consumer})
for n in range(10):
    ask("t.first", f"first {n}")
for n in range(5):
    ask("t.second", f"before {n}")
purged = api("STREAM.PURGE.S", {"filter": "t.first"})["purged"]
for n in range(5):
    ask("t.second", f"after {n}")
came = pull()
stored = api("STREAM.INFO.S")["state"]["messages"]
pending = api("CONSUMER.INFO.S.C")["num_pending"]
print(f"purged {purged}, stored {stored}, pending {pending}, came: {came}")
assert purged == 10, "the purge took more than its subject"
assert stored == 10 and pending == 0, "the counts are others now"
assert came == [f"after {n}" for n in range(5)], "what was stored before the purge comes now"
PYTHON
python3 "$dir/seen.py" "$port"
echo "seen: after a purge of one subject, what was stored of the others does not come"
