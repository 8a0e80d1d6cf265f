/* A thread whose stack lies amid other data, all of it in huge pages: what is put there before the rest
 * must not make a whole huge page of zeros. */
#include "victim.h"
#include <pthread.h>
#include <sys/mman.h>
enum { HUGE = 2 << 20, COUNT = 8, STACK = 256 << 10 };
static unsigned char* area;
static volatile int stage;
static unsigned char* stack_start(void) { return area + 3 * HUGE + HUGE / 2; }
static uint64_t pattern(size_t at) { return at * 0x9e3779b97f4a7c15ull | 1; }
static int on_stack(size_t at) { return area + at >= stack_start() && area + at < stack_start() + STACK; }
static void* run(void* unused) {
  stage = 1;
  while (stage != 2) usleep(1000);
  return unused;
}
int main(void) {
  unsigned char* all = mmap(NULL, (COUNT + 1) * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(all != MAP_FAILED);
  area = (unsigned char*)(((uintptr_t)all + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
  madvise(area, COUNT * HUGE, MADV_HUGEPAGE); /* where the kernel has them */
  for (size_t at = 0; at < COUNT * HUGE; at += 512)
    *(uint64_t*)(area + at) = pattern(at);
  pthread_attr_t attributes;
  pthread_t thread;
  EXPECT(!pthread_attr_init(&attributes) && !pthread_attr_setstack(&attributes, stack_start(), STACK));
  EXPECT(!pthread_create(&thread, &attributes, run, NULL));
  while (stage != 1) usleep(1000);
  ready();
  wait_for_go();
  for (size_t at = 0; at < COUNT * HUGE; at += 512)
    if (!on_stack(at)) EXPECT(*(uint64_t*)(area + at) == pattern(at));
  stage = 2;
  EXPECT(!pthread_join(thread, NULL));
  return ok();
}
