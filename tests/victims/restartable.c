/* Restartable sequences (rseq(2)): each thread adds to the counter of the processor it is on, and nothing but such a
 * sequence keeps the others on that processor from coming between. Not one addition may be lost. */
#include "victim.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
enum { THREADS = 5, PROCESSORS = 1024, SPINS = 20000 };
struct line { long count; char room[56]; };
static struct line line[PROCESSORS];
static atomic_int stop;
static long done[THREADS], left[THREADS]; /* additions; sequences that were left before their end */
static struct rseq* mine(void) { return (struct rseq*)((char*)__builtin_thread_pointer() + __rseq_offset); }
static int add(struct rseq* area) {
  const unsigned cpu = *(volatile unsigned*)&area->cpu_id_start;
  long* at = &line[cpu].count;
  __asm__ goto volatile(
      ".pushsection __rseq_cs, \"aw\"\n.balign 32\n3: .long 0, 0\n.quad 1f, 2f - 1f, 4f\n.popsection\n"
      "leaq 3b(%%rip), %%rax\nmovq %%rax, %[section]\n"
      "1: cmpl %[cpu], %[cpu_id]\njne 4f\n"
      "movq (%[at]), %%rax\n"
      "movl %[spins], %%ecx\n5: decl %%ecx\njnz 5b\n"
      "incq %%rax\nmovq %%rax, (%[at])\n"
      "2:\n"
      ".pushsection .text.left, \"ax\"\n.byte 0x0f, 0xb9, 0x3d\n.long 0x53053053\n4: jmp %l[out]\n.popsection\n"
      : : [section] "m"(area->rseq_cs), [cpu] "r"(cpu), [cpu_id] "m"(area->cpu_id), [at] "r"(at), [spins] "i"(SPINS)
      : "rax", "rcx", "memory", "cc" : out);
  return 1;
out:
  return 0;
}
static void registered(void) {
  struct rseq* area = mine();
  for (;;) {
    const unsigned before = *(volatile unsigned*)&area->cpu_id;
    const int now = sched_getcpu();
    unsigned told;
    EXPECT(!syscall(SYS_getcpu, &told, NULL, NULL));
    if (*(volatile unsigned*)&area->cpu_id != before || (unsigned)now != told) continue; /* it has just moved */
    EXPECT(before == told);
    break;
  }
  errno = 0; /* the same once more */
  EXPECT(syscall(334, area, 32, 0, 0x53053053) == -1 && errno == EBUSY);
}
static void* adds(void* a) {
  const long i = (long)a;
  struct rseq* area = mine();
  registered();
  while (!atomic_load(&stop))
    if (add(area)) done[i]++;
    else left[i]++;
  registered();
  return NULL;
}
static void* waits(void* unused) {
  wait_for_go();
  atomic_store(&stop, 1);
  return unused;
}
int main(void) {
  if (__rseq_size == 0) { /* a kernel or a C library without */
    ready();
    wait_for_go();
    return ok();
  }
  pthread_t thread[THREADS];
  for (long i = 1; i < THREADS; i++) EXPECT(!pthread_create(&thread[i], NULL, adds, (void*)i));
  pthread_t reader;
  ready();
  EXPECT(!pthread_create(&reader, NULL, waits, NULL));
  adds(NULL); /* the first thread, too */
  EXPECT(!pthread_join(reader, NULL));
  long sum = 0, all = 0, interrupted = 0;
  for (long i = 1; i < THREADS; i++) EXPECT(!pthread_join(thread[i], NULL));
  for (int i = 0; i < THREADS; i++) all += done[i], interrupted += left[i];
  for (int i = 0; i < PROCESSORS; i++) sum += line[i].count;
  if (sum != all) printf("%ld of %ld additions are lost; %ld were begun anew\n", all - sum, all, interrupted);
  EXPECT(sum == all && interrupted > 0);
  return ok();
}
