/* Huge pages (hugetlb): private, read-only, shared with a child, and a memfd; touched ones and others. */
#include "victim.h"
#include <linux/mman.h>
#include <sys/mman.h>
#include <sys/wait.h>
enum { SIZE = 2 << 20, FLAGS = MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB };
static int is_huge(const void* at) {
  unsigned long start, end, size = 0;
  char line[512];
  int here = 0;
  FILE* f = fopen("/proc/self/smaps", "r");
  EXPECT(f);
  while (fgets(line, sizeof line, f)) {
    if (sscanf(line, "%lx-%lx ", &start, &end) == 2) here = start <= (unsigned long)at && (unsigned long)at < end;
    if (here && sscanf(line, "KernelPageSize: %lu kB", &size) == 1) break;
  }
  fclose(f);
  return size == 2048;
}
static unsigned char expected(int which, long i) { return (unsigned char)(i * 31 + i / 4096 + which); }
static void fill(unsigned char* at, int which) { for (long i = 0; i < SIZE; i++) at[i] = expected(which, i); }
static int same(const unsigned char* at, int which) {
  for (long i = 0; i < SIZE; i++) if (at[i] != expected(which, i)) return 0;
  return 1;
}
static unsigned char* map(size_t pages, int flags, int fd) {
  unsigned char* at = mmap(NULL, pages * SIZE, PROT_READ | PROT_WRITE, flags, fd, 0);
  EXPECT(at != MAP_FAILED);
  return at;
}
int main(int argc, char** argv) {
  int gate[2];
  if (argc > 1) { /* so many, and nothing else */
    unsigned char* many = map((size_t)atoi(argv[1]), MAP_PRIVATE | FLAGS, -1);
    ready();
    wait_for_go();
    return many[0] == 0 ? ok() : 1;
  }
  unsigned char *private_ = map(3, MAP_PRIVATE | FLAGS, -1), *constant = map(1, MAP_PRIVATE | FLAGS, -1);
  unsigned char* shared = map(2, MAP_SHARED | FLAGS, -1);
  int memory = memfd_create("victim", MFD_HUGETLB | MAP_HUGE_2MB);
  EXPECT(memory >= 0 && !ftruncate(memory, 2 * SIZE));
  unsigned char *m = map(2, MAP_SHARED, memory), *copy = map(2, MAP_PRIVATE, memory);
  fill(private_ + SIZE, 1), fill(constant, 2), fill(shared, 3), fill(m + SIZE, 4), fill(copy + SIZE, 5);
  EXPECT(!mprotect(constant, SIZE, PROT_READ) && !pipe(gate));
  EXPECT(!madvise(private_, 3 * SIZE, MADV_DONTFORK) && !madvise(constant, SIZE, MADV_DONTFORK));
  EXPECT(!madvise(copy, 2 * SIZE, MADV_DONTFORK));
  pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    char c;
    if (read(gate[0], &c, 1) != 1 || !same(shared, 3) || shared[SIZE] != 7) _exit(1);
    shared[SIZE + 1] = 8;
    _exit(!is_huge(shared));
  }
  ready();
  wait_for_go();
  EXPECT(is_huge(private_) && is_huge(constant) && is_huge(shared) && is_huge(m) && is_huge(copy));
  EXPECT(same(private_ + SIZE, 1) && same(constant, 2) && same(shared, 3) && same(m + SIZE, 4) && same(copy + SIZE, 5));
  EXPECT(private_[0] == 0 && private_[2 * SIZE + 5] == 0 && m[0] == 0 && copy[0] == 0);
  private_[0] = 1, m[0] = 9;
  EXPECT(copy[0] == 9 && !memcmp(m, copy, 4096));
  char byte;
  EXPECT(pread(memory, &byte, 1, 0) == 1 && byte == 9);
  shared[SIZE] = 7;
  int status;
  EXPECT(write(gate[1], "x", 1) == 1 && waitpid(child, &status, 0) == child && status == 0);
  EXPECT(shared[SIZE + 1] == 8);
  return ok();
}
