/* Waits that were to last a time: none ends early, and none starts its time again. A clock that nobody can put back
 * says when all must have ended; it leaves room for half of what passes before the move. */
#include "victim.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
enum { KINDS = 8, ALL = KINDS * 2 };
static const long second = 1000000000;
static long total; /* ns */
static int word;
static volatile int done[ALL];
static int bad[ALL];
static long now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * second + t.tv_nsec; }
static void* wait_for_it(void* a) {
  long k = (long)a, before = now(), r = -99;
  struct timespec ts = {total / second, total % second}, rest = {-1, -1};
  const struct timespec asked = ts;
  struct timeval tv = {total / second, total % second / 1000};
  struct pollfd nobody = {0};
  int p[2];
  EXPECT(!pipe(p));
  nobody.fd = p[0];
  nobody.events = POLLIN;
  errno = 0;
  switch (k % KINDS) {
    case 0: r = nanosleep(&ts, NULL); break;
    case 1: r = nanosleep(&ts, &rest); break;
    case 2: r = clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL); break;
    case 3: r = clock_nanosleep(CLOCK_BOOTTIME, 0, &ts, &rest); break;
    case 4: r = poll(&nobody, 1, (int)(total / 1000000)); break;
    case 5: r = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &ts, 0, 0) == -1 && errno == ETIMEDOUT ? 0 : -1; break;
    case 6: r = select(0, NULL, NULL, NULL, &tv); break;
    case 7: r = ppoll(&nobody, 1, &ts, NULL); break;
  }
  if (r != 0 || now() - before < total) { printf("call %ld: %ld errno %d after %ld\n", k, r, errno, now() - before); bad[k] = 1; }
  if (k % KINDS < 6 && memcmp(&ts, &asked, sizeof ts)) bad[k] = 2; /* what it was asked with is the program's */
  done[k] = 1;
  return NULL;
}
int main(int argc, char** argv) {
  total = argc > 1 ? atol(argv[1]) * 1000000 : 6000000000;
  const long margin = argc > 2 ? atol(argv[2]) * 1000000 : 1400000000;
  pthread_t t[ALL];
  const int count = argc > 3 ? atoi(argv[3]) : ALL;
  for (long i = 0; i < count; i++) EXPECT(!pthread_create(&t[i], NULL, wait_for_it, (void*)i));
  usleep(100000);
  const long end = now() + total + margin;
  ready();
  for (int all = 0; !all && now() < end; usleep(5000)) {
    all = 1;
    for (int i = 0; i < count; i++) all = all && done[i];
  }
  for (int i = 0; i < count; i++) if (!done[i]) printf("wait %d has begun anew\n", i);
  for (int i = 0; i < count; i++) EXPECT(done[i]);
  for (int i = 0; i < count; i++) EXPECT(!bad[i]);
  for (int i = 0; i < count; i++) pthread_join(t[i], NULL);
  wait_for_go();
  return ok();
}
