#!/usr/bin/env bash
# Whoever has no registered key, or sends what is no message, gets silence or an error, and harms nobody.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=500ms
cd "$WORK"

cat >garbage.py <<'END'
# garbage.py ADDRESS...: an address is HOST:PORT or a path. Sends each of them what no peer of ours sends.
# Prints what came back beyond ZeroMQ's own greeting, if anything.
import os, random, socket, struct, sys
random.seed(1)
greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
curve = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
stuff = [b"", b"\0", b"GET / HTTP/1.0\r\n\r\n", random.randbytes(100000), b"\xff" * 65536,
         greeting, greeting + random.randbytes(5000), curve + random.randbytes(5000),
         curve + b"\x04\xc8\x05HELLO" + random.randbytes(194),
         struct.pack("<II", 0xffffffff, 0), struct.pack("<II", 5, 0xffffffff), struct.pack("<II", 0, 0),
         struct.pack("<II", 4 << 20, 0) + random.randbytes(1000),
         struct.pack("<II", 100, 10) + random.randbytes(110), struct.pack("<II", 2, 0) + b"\x08\x63"]
# Messages of each kind, of the right version: with nothing in them, with little, damaged; and each cut off.
kinds = []
for kind in sorted({*range(20, 106), 120, 121} - {102}):  # not those that would be obeyed: Pause, RemoveHost
    tag = bytes([kind << 3 & 0x7f | 0x82, kind >> 4])
    for body in (b"\x0a\x7f", b"\x0a\x04h0.1\x10\xff\xff\xff\xff\x0f\x1a\x01/"):
        envelope = b"\x08\x01" + tag + bytes([len(body)]) + body
        whole = struct.pack("<II", len(envelope), 0) + envelope
        kinds += [whole, whole[:-1]]
for address in sys.argv[1:]:
    for data in stuff * 3 + (kinds if address.startswith("/") else []):
        unix = address.startswith("/")
        s = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        s.settimeout(0.02 if data in kinds else 0.3)
        s.connect(address if unix else (address.split(":")[0], int(address.split(":")[1])))
        answer = b""
        try:
            s.sendall(data)
            while piece := s.recv(65536): answer += piece
        except (TimeoutError, ConnectionError):
            pass
        s.close()
        # ZeroMQ greets with 64 bytes whoever connects, and may name an error in its handshake.
        if not unix and len(answer) > 64 + 64: print(address, len(answer), answer[64:])
END
pids() { for node in coordinator h0 h1; do cell pid "$node"; done; }
before=$(pids)
coordinator=$(cell address coordinator) h1=$(cell address h1)
equal "answers to garbage" "" "$(on h0 python3 garbage.py "$coordinator:7717" "$h1:7718" /run/hob/hostd.sock </dev/null)"
equal "answers to garbage from root" "" "$(on -r coordinator python3 garbage.py /run/hob/coordinator.sock </dev/null)"
equal "answers to garbage from root" "" "$(on -r h0 python3 garbage.py /run/hob/starter.sock </dev/null)"
equal "the daemons that live" "$before" "$(pids)"
ends_with 0 on h0 remote run true </dev/null

# Ordinary users are not let in to the coordinator's own socket.
status=0
on coordinator remote cell invite </dev/null 2>errors || status=$?
equal "status of an ordinary user's invitation" 5 "$status"
matches "what it says" "Permission denied; only root" "$(cat errors)"

# An invitation is for one host, of the name it was made for, and can be taken back. Who holds one that does
# not stand any more is told so, at once.
invite() { on -r coordinator remote cell invite "$@" </dev/null; }
numbers() { on -r coordinator remote cell invitations -o name </dev/null; }
join() { on -r h1 remote cell join --dir "/run/hob/$1" --name "$1" "$2" </dev/null 2>errors; }
for number in $(numbers); do # what the messages above have asked for
  on -r coordinator remote cell remove "$number" </dev/null
done
equal "unused invitations" "" "$(numbers)"
ends_with 2 invite --name h1 2>errors
matches "a name that is taken" "a host of that name is in the cell" "$(cat errors)"
named=$(invite --name h7)
ends_with 5 join h8 "$named"
matches "another name" "for a host named h7" "$(cat errors)"
ends_with 0 join h7 "$named"
ends_with 5 join h8 "$named"
matches "a used invitation" "used already, by h7" "$(cat errors)"
on -r coordinator remote cell remove h7 </dev/null
other=$(invite)
on -r coordinator remote cell remove "$(numbers)" </dev/null
ends_with 5 join h8 "$other"
matches "a withdrawn invitation" "has been withdrawn" "$(cat errors)"
equal "what failed joins leave" "" "$(on -r h1 find /run/hob/h8 -type f)"
ends_with 4 on -r coordinator remote cell remove h7 </dev/null 2>errors
on -r h1 rm -r /run/hob/h7 /run/hob/h8

# A host with a key that nobody registered: its hostd gets no answer, so its users get no host and the others
# take it for down. With the registered key all is well again.
other_key() {
  cell kill h1
  on -r h1 sh -c "$1" </dev/null
  cell start h1 </dev/null
}
other_key 'remote cell init --dir /run/hob/stranger --state-dir /run/hob/stranger >/dev/null &&
  mv /etc/hob/host.key /etc/hob/good.key && mv /run/hob/stranger/coordinator.key /etc/hob/host.key && rm -r /run/hob/stranger'
ends_with 125 timeout 30 "$ROOT/scripts/cell" exec h1 remote run --no-wait true </dev/null 2>errors
matches "what its users are told" "^remote: " "$(cat errors)"
ends_with 125 on h0 remote run --no-wait true </dev/null 2>/dev/null
other_key 'mv /etc/hob/good.key /etc/hob/host.key'
soon 30 "h1 idle with its own key" is_idle h1
ends_with 0 on h0 remote run true </dev/null
