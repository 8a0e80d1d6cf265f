/* Stacks that grow: the process's own, and one of mmap's kind. */
#include "victim.h"
#include <sys/mman.h>
enum { SIZE = 256 << 10, GROWN = 4 << 20 };
static int deep(int n) {
  volatile char frame[4000];
  frame[n % 4000] = (char)n;
  return n == 0 ? frame[0] : deep(n - 1) + (frame[n % 4000] == (char)n);
}
int main(void) {
  char* space = mmap(NULL, GROWN * 2, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(space != MAP_FAILED && !munmap(space, GROWN * 2));
  char* top = space + GROWN * 2;
  char* stack = mmap(top - SIZE, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
  EXPECT(stack == top - SIZE);
  strcpy(stack, "at its end");
  ready();
  wait_for_go();
  EXPECT(!strcmp(stack, "at its end"));
  for (char* p = stack; p > top - GROWN; p -= 4096) p[-1] = 'x';
  EXPECT(stack[-1] == 'x' && top[-GROWN] == 0);
  EXPECT(deep(1500) == 1500); /* 6 MB of the usual 8 */
  return ok();
}
