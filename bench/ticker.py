"""ticker.c's loop in Python, over a working set: ticker.py FILE MIB. The layout is ticks.h's."""
import decimal, json, mmap, os, random, re, struct, sys, threading, time, unittest  # noqa: E401,F401

READY, PID, TICKS, ASKED, BEGUN, WORST, WORST_END = range(0, 56, 8)

with open(sys.argv[1], "r+b") as file:
    slot = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
objects = [bytes([i % 255 + 1]) * 991 for i in range(int(sys.argv[2]) * 1024)]
count = len(objects)
slot[PID // 8] = os.getpid()
now_ns = time.monotonic_ns
last = now_ns()
slot[READY // 8] = 1
i = n = 0
while True:
    if slot[ASKED // 8] != slot[BEGUN // 8]:
        slot[WORST // 8] = slot[WORST_END // 8] = 0
        last = now_ns()
        slot[BEGUN // 8] = slot[ASKED // 8]
    i = (i * 1103515245 + 12345) % count
    n += objects[i][5]
    now = now_ns()
    if now - last > slot[WORST // 8]:
        slot[WORST_END // 8] = time.time_ns()
        slot[WORST // 8] = now - last
    last = now
    slot[TICKS // 8] = n
