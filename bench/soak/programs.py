"""The soak's jobs: real programs with a result that can be checked, some seconds each."""
import subprocess

COMPUTE = """
import hashlib
state, table = b"soak", {}
for i in range(120000):
    state = hashlib.sha256(state).digest()
    table[state[:3]] = table.get(state[:3], 0) + i
print(len(table), hashlib.sha256(repr(sorted(table.items())).encode()).hexdigest())
"""

PIPELINE = """
for round in 1 2 3 4 5 6; do
  seq 1 40000 | sed "s/7/$round/g" | sort -r | awk '{s = (s * 31 + $1) % 1000003} END {print s}'
done | tee sums | sha256sum
trap 'echo trapped' USR1
kill -USR1 $$
wc -l <sums
"""

THREADS = """
#include <pthread.h>
#include <stdio.h>
enum { kThreads = 6, kRounds = 60, kWork = 200000 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static unsigned long total, turn;
static void* work(void* p) {
  unsigned long me = (unsigned long)p;
  for (unsigned long round = 0; round < kRounds; round++) {
    unsigned long x = me * 7919 + round;
    for (int i = 0; i < kWork; i++) x = x * 6364136223846793005ul + 1442695040888963407ul;
    pthread_mutex_lock(&lock);
    while (turn % kThreads != me) pthread_cond_wait(&turned, &lock); /* in order: the sum depends on it */
    total = total * 31 + x;
    turn++;
    pthread_cond_broadcast(&turned);
    pthread_mutex_unlock(&lock);
  }
  return 0;
}
int main(void) {
  pthread_t threads[kThreads];
  for (unsigned long i = 0; i < kThreads; i++) pthread_create(&threads[i], 0, work, (void*)i);
  for (int i = 0; i < kThreads; i++) pthread_join(threads[i], 0);
  printf("%lu\\n", total);
  return 0;
}
"""


def source(functions):
    lines = []
    for i in range(functions):
        lines.append(f"""
int f{i}(int* a, int n) {{
  int s = {i};
  for (int i = 0; i < n; i++) {{ a[i] = a[i] * {i + 3} + (s ^ i); if (a[i] & {i + 1}) s += a[i] >> 2; else s -= i; }}
  switch (s & 7) {{ case 0: return s; case 1: return -s; case 2: return s * s; case 5: return s / {i + 1}; default: return n; }}
}}""")
    return "\n".join(lines)


def prepare(work, as_user):
    """A list of (name, command, what it prints). The commands run in a directory of their own."""
    def write(name, text):
        with open(f"{work}/{name}", "w", encoding="ascii") as file:
            file.write(text)

    write("compute.py", COMPUTE)
    write("pipeline.sh", PIPELINE)
    write("threads.c", THREADS)
    write("big.c", source(250))
    subprocess.run(["gcc", "-O1", "-pthread", "-o", f"{work}/threads", f"{work}/threads.c"], check=True)
    with open("/usr/bin/python3", "rb") as binary, open(f"{work}/input", "wb") as file:
        file.write(binary.read(3 << 20))
    commands = [
        ("gcc", ["sh", "-c", f"gcc -O2 -c {work}/big.c -o big.o && sha256sum <big.o"]),
        ("python3", ["python3", f"{work}/compute.py"]),
        ("xz", ["sh", "-c", f"xz -6e -c {work}/input | sha256sum"]),
        ("pipeline", ["sh", f"{work}/pipeline.sh"]),
        ("threads", [f"{work}/threads"]),
    ]
    known = []
    for name, command in commands:
        subprocess.run(as_user(["mkdir", f"{work}/alone-{name}"]), check=True)
        done = subprocess.run(as_user(command), cwd=f"{work}/alone-{name}", stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=True)
        known.append((name, command, done.stdout))
    return known
