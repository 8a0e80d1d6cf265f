/* Full pages that nobody may look at now: allocators and virtual machines close what they keep. */
#include <sys/mman.h>
#include "victim.h"
enum { SIZE = 1 << 20, PAGE = 4096 };
static uint64_t value(uint64_t i, int p) {
  return (i + 1) * 0x9E3779B97F4A7C15ull + (uint64_t)p;
}
static const int protections[] = {PROT_NONE, PROT_WRITE, PROT_EXEC, PROT_NONE};
enum { COUNT = sizeof protections / sizeof *protections };
int main(void) {
  uint64_t* memory[COUNT];
  for (int p = 0; p < COUNT; p++) {
    /* the last one is shared */
    memory[p] = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
                     (p == COUNT - 1 ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
    EXPECT(memory[p] != MAP_FAILED);
    for (size_t i = 0; i < SIZE / 8; i++) memory[p][i] = value(i, p);
    EXPECT(!mprotect(memory[p], SIZE, protections[p]));
  }
  /* of the program's own file, in which it has written */
  static uint64_t data[3 * PAGE / 8] = {1};
  uint64_t* page = (uint64_t*)(((uintptr_t)data + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
  for (size_t i = 0; i < PAGE / 8; i++) page[i] = value(i, COUNT);
  EXPECT(!mprotect(page, PAGE, PROT_NONE));
  ready();
  wait_for_go();
  for (int p = 0; p < COUNT; p++) {
    EXPECT(!mprotect(memory[p], SIZE, PROT_READ));
    for (size_t i = 0; i < SIZE / 8; i++) EXPECT(memory[p][i] == value(i, p));
  }
  EXPECT(!mprotect(page, PAGE, PROT_READ | PROT_WRITE));
  for (size_t i = 0; i < PAGE / 8; i++) EXPECT(page[i] == value(i, COUNT));
  return ok();
}
