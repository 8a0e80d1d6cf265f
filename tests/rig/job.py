"""Computes the same again and again, answers "count" with how often, and ends with the result at the end of stdin."""
import hashlib
import sys
import threading

rounds, asked_to_end = 0, threading.Event()


def listen():
    for line in sys.stdin:
        if line == "count\n":
            print("rounds", rounds, flush=True)
    asked_to_end.set()


table = [hashlib.sha256(b"%d" % i).digest() for i in range(int(sys.argv[1]))]
print("ready", flush=True)
threading.Thread(target=listen).start()
result = None
while result is None or not asked_to_end.is_set():
    digest = hashlib.sha256()
    for entry in table[rounds % 7::7]:
        digest.update(entry)
    table[rounds % len(table)] = bytes(table[rounds % len(table)])  # touches memory, changes nothing
    rounds += 1
    digest = hashlib.sha256(b"".join(table[::1000])).hexdigest()
    assert result in (None, digest)
    result = digest
print("result", result)
