/* Memory operations all the time, so also while pages are still on their way: give back, unmap, move,
 * fork. Every page knows what it must hold. */
#include "victim.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
enum { MIB = 64 };
static uint64_t value(uint64_t i) { return (i + 1) * 0x9E3779B97F4A7C15ull; }
static uint64_t* at[MIB << 8];   /* where page i is now, NULL: unmapped */
static unsigned char given[MIB << 8], to_high[MIB << 8];
static uint64_t expect(size_t i) { return given[i] ? 0 : value(i); }
int main(void) {
  const size_t pages = (size_t)MIB << 8;
  uint64_t* m = mmap(NULL, (size_t)MIB << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(m != MAP_FAILED);
  for (size_t i = 0; i < pages; i++) {
    at[i] = m + i * 512;
    at[i][5] = value(i);
  }
  fcntl(0, F_SETFL, O_NONBLOCK);
  ready();
  uint64_t x = 88172645463325252ull;
  unsigned long rounds = 0;
  char line[8];
  while (read(0, line, sizeof line) != 3) {
    for (int k = 0; k < 20; k++) {
      x ^= x << 13; x ^= x >> 7; x ^= x << 17;
      size_t i = x % pages;
      switch (x >> 60) {
        case 0:
          if (at[i] && !madvise(at[i], 4096, MADV_DONTNEED)) given[i] = 1;
          break;
        case 1:
          if (at[i] && rounds % 4 == 0) { EXPECT(!munmap(at[i], 4096)); at[i] = NULL; }
          break;
        case 2:
          if (at[i]) {
            uint64_t* to = mremap(at[i], 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, (char*)(to_high[i] ? 0x210000000000 : 0x220000000000) + i * 8192);
            to_high[i] ^= 1;
            EXPECT(to != MAP_FAILED);
            at[i] = to;
          }
          break;
        default:
          if (at[i]) EXPECT(at[i][5] == expect(i));
      }
    }
    if (rounds++ % 16 == 0) {
      pid_t child = fork();
      EXPECT(child >= 0);
      if (child == 0) {
        for (int k = 0; k < 50; k++) {
          x ^= x << 13; x ^= x >> 7; x ^= x << 17;
          size_t i = x % pages;
          if (at[i] && at[i][5] != expect(i)) _exit(1);
        }
        _exit(0);
      }
      int status;
      while (waitpid(child, &status, 0) < 0) EXPECT(errno == EINTR);
      EXPECT(status == 0);
    }
  }
  for (size_t i = 0; i < pages; i++) if (at[i]) EXPECT(at[i][5] == expect(i));
  return ok();
}
