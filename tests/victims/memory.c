/* Anonymous memory, heap, static data, a page given back, protections. */
#include "victim.h"
#include <sys/mman.h>
static uint64_t value(uint64_t i) { return (i + 1) * 0x9E3779B97F4A7C15ull; }
static uint64_t statics[4096];
int main(int argc, char** argv) {
  size_t mib = argc > 1 ? (size_t)atoi(argv[1]) : 8;
  size_t n = mib << 17;
  uint64_t* big = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(big != MAP_FAILED);
  for (size_t i = 0; i < n; i++) big[i] = value(i);
  uint64_t* heap[64];
  for (size_t i = 0; i < 64; i++) {
    heap[i] = malloc(1000 * i + 8);
    *heap[i] = value(i);
  }
  for (size_t i = 0; i < 4096; i++) statics[i] = value(i);
  char* empty = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  char* locked = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  strcpy(locked, "read only");
  EXPECT(mprotect(locked, 8192, PROT_READ) == 0);
  /* full pages side by side that the kernel keeps in mappings of their own */
  enum { ODD = 301 };
  uint64_t* striped = mmap(NULL, ODD * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(striped != MAP_FAILED);
  for (size_t i = 0; i < ODD * 512; i++) striped[i] = value(i);
  for (size_t i = 0; i < ODD; i += i % 7 + 1) EXPECT(!mprotect(striped + i * 512, 4096, PROT_READ));
  void* reserved = mmap(NULL, 1ull << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  EXPECT(reserved != MAP_FAILED);
  ready();
  wait_for_go();
  for (size_t i = 0; i < n; i++) EXPECT(big[i] == value(i));
  for (size_t i = 0; i < 64; i++) EXPECT(*heap[i] == value(i));
  for (size_t i = 0; i < 4096; i++) EXPECT(statics[i] == value(i));
  for (size_t i = 0; i < 1 << 20; i++) EXPECT(empty[i] == 0);
  for (size_t i = 0; i < ODD * 512; i++) EXPECT(striped[i] == value(i));
  EXPECT(strcmp(locked, "read only") == 0);
  for (size_t i = 0; i < 64; i++) free(heap[i]);
  void* more = malloc(50 << 20);
  memset(more, 1, 50 << 20);
  return ok();
}
