/* A program that looks at its clock all the time and remembers the longest time for which it could
 * not: what is measured when it is moved. It knows nothing of who moves it.
 *
 *   ticker FILE small              nothing else
 *   ticker FILE memory MIB         fills MIB, then touches one random page of it per tick
 *   ticker FILE writes MIB RATE    writes to RATE random pages per second
 *   ticker FILE maps N             N mappings that cannot be joined
 *   ticker FILE files N            N open files, each of its own, in the directory of FILE
 *   ticker FILE threads N          N threads that wait, beside the one that ticks
 *   ticker FILE tree N             N processes, all of which tick, in three generations
 */
#include "bench/ticks.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096 };
/* A page that is there is touched in well under 1 us, a fault that the kernel alone serves takes 1
 * to 3; one that somebody else must serve takes a wake-up more. */
enum { FAULT_NS = 8000 };
enum { GAP_NS = 200000 }; /* ticks.h */

static struct tick_slot* slot;
static uint64_t last, seed = 88172645463325252ull;

static void die(const char* what) {
  perror(what);
  exit(1);
}

static uint64_t now_on(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t any(void) { /* xorshift64 */
  seed ^= seed << 13;
  seed ^= seed >> 7;
  return seed ^= seed << 17;
}

static void rest(long ns) {
  struct timespec t = {0, ns};
  nanosleep(&t, NULL);
}

static void begin_anew(uint64_t asked) {
  slot->worst_ns = slot->worst_end_ns = slot->touches = slot->faults = slot->gaps = 0;
  last = now_on(CLOCK_MONOTONIC);
  __atomic_store_n(&slot->begun, asked, __ATOMIC_RELEASE);
}

static uint64_t tick(void) {
  const uint64_t asked = __atomic_load_n(&slot->asked, __ATOMIC_ACQUIRE);
  if (asked != slot->begun) begin_anew(asked);
  const uint64_t now = now_on(CLOCK_MONOTONIC), gap = now - last;
  if (gap > slot->worst_ns || gap > GAP_NS) {
    const uint64_t end = now_on(CLOCK_REALTIME);
    if (gap > slot->worst_ns) {
      slot->worst_end_ns = end;
      slot->worst_ns = gap;
    }
    if (gap > GAP_NS && slot->gaps < TICK_GAPS) {
      slot->gap[slot->gaps] = (struct tick_gap){gap, end};
      slot->gaps++;
    }
  }
  slot->ticks++;
  return last = now;
}

static void use_slot(void* file, unsigned index) {
  slot = (struct tick_slot*)((char*)file + (size_t)index * TICK_SLOT_SIZE);
  slot->pid = (uint64_t)getpid();
  last = now_on(CLOCK_MONOTONIC);
}

static void ready(void) {
  last = now_on(CLOCK_MONOTONIC);
  __atomic_store_n(&slot->ready, 1, __ATOMIC_RELEASE);
}

static void touch(volatile uint64_t* page) {
  const uint64_t before = now_on(CLOCK_MONOTONIC);
  (*page)++;
  const uint64_t took = now_on(CLOCK_MONOTONIC) - before;
  slot->touches++;
  if (took < FAULT_NS) return;
  if (slot->faults < TICK_SAMPLES)
    slot->fault_ns[slot->faults] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
  slot->faults++;
}

/* Nothing in it is zero, and no two pages are alike. */
static uint64_t* fill(size_t bytes) {
  uint64_t* memory =
      mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  for (size_t i = 0; i < bytes / sizeof *memory; i++) memory[i] = any() | 1;
  return memory;
}

static uint64_t* any_page(uint64_t* memory, size_t bytes) {
  return memory + any() % (bytes / PAGE) * (PAGE / sizeof *memory);
}

static void do_memory(size_t bytes) {
  uint64_t* memory = fill(bytes);
  ready();
  for (;;) {
    rest(50000);
    tick();
    touch(any_page(memory, bytes));
  }
}

static void do_writes(size_t bytes, uint64_t rate) {
  uint64_t* memory = fill(bytes);
  ready();
  for (uint64_t before = tick();; rest(200000)) {
    const uint64_t now = tick();
    for (uint64_t due = (now - before) * rate / 1000000000u, n = 0; n < due && n < rate / 10; n++) {
      touch(any_page(memory, bytes));
      tick();
    }
    before = now;
  }
}

static void do_maps(int count) {
  for (int i = 0; i < count; i++) {
    char* page =
        mmap(NULL, PAGE, i % 2 ? PROT_READ | PROT_WRITE : PROT_READ | PROT_WRITE | PROT_EXEC,
             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) die("mmap");
    memset(page, i % 255 + 1, PAGE);
  }
}

static void do_files(const char* beside, int count) {
  for (int i = 0; i < count; i++) {
    char name[4096];
    snprintf(name, sizeof name, "%s.%d", beside, i);
    const int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, name, 16) != 16) die(name);
  }
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static void* wait_for_ever(void* started) {
  pthread_mutex_lock(&lock);
  ++*(int*)started;
  for (;;) pthread_cond_wait(&never, &lock);
  return NULL;
}
static void do_threads(int count) {
  static int started;
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 65536);
  for (int i = 0; i < count; i++) {
    pthread_t thread;
    if (pthread_create(&thread, &small, wait_for_ever, &started)) die("pthread_create");
  }
  for (;;) {
    pthread_mutex_lock(&lock);
    const int all = started == count;
    pthread_mutex_unlock(&lock);
    if (all) return;
    rest(1000000);
  }
}

/* They cannot all run at once on a small machine, so they sleep between their ticks. */
static void tick_now_and_then(void) {
  ready();
  for (;;) {
    rest(1000000);
    tick();
  }
}
static void do_tree(void* file, int count) {
  for (int child = 1, next = 1; next < count; child++) {
    const int grandchildren = count - next > 4 ? 3 : count - next - 1, mine = next;
    next += 1 + grandchildren;
    const pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid > 0) continue;
    int index = mine;
    for (int g = 1; g <= grandchildren; g++)
      if (fork() == 0) {
        index = mine + g;
        break;
      }
    use_slot(file, (unsigned)index);
    tick_now_and_then();
  }
  tick_now_and_then();
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const int fd = open(argv[1], O_RDWR);
  const off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
  if (size < 0) die(argv[1]);
  void* file = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (file == MAP_FAILED) die(argv[1]);
  close(fd);
  use_slot(file, 0);
  const char* what = argv[2];
  const int count = argc > 3 ? atoi(argv[3]) : 0;
  if (!strcmp(what, "memory")) do_memory((size_t)count << 20);
  if (!strcmp(what, "writes") && argc > 4) do_writes((size_t)count << 20, strtoull(argv[4], 0, 10));
  if (!strcmp(what, "tree")) do_tree(file, count);
  if (!strcmp(what, "maps")) do_maps(count);
  if (!strcmp(what, "files")) do_files(argv[1], count);
  if (!strcmp(what, "threads")) do_threads(count);
  ready();
  for (;;) tick();
}
