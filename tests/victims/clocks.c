/* Reads every clock there is, all the time and in several threads, through the vdso. None goes back. */
#include "victim.h"
#include <pthread.h>
#include <sched.h>
#include <sys/time.h>
#include <time.h>
static volatile int go;
static int bad;
static long reading(int clock) {
  struct timespec t;
  EXPECT(!clock_gettime(clock, &t));
  return t.tv_sec * 1000000000 + t.tv_nsec;
}
static void* reader(void* a) {
  static const int clocks[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE};
  const int clock = clocks[(long)a % 4];
  long last = reading(clock);
  while (!go) {
    const long now = reading(clock);
    /* of the raw clock two hosts have different ideas, and the coarse one steps */
    if (now < last && (long)a % 4 < 2) bad = 1;
    last = now;
  }
  return NULL;
}
int main(void) {
  pthread_t t[8];
  const long start = reading(CLOCK_MONOTONIC);
  for (long i = 0; i < 8; i++) EXPECT(!pthread_create(&t[i], NULL, reader, (void*)i));
  usleep(20000);
  ready();
  wait_for_go();
  go = 1;
  for (int i = 0; i < 8; i++) pthread_join(t[i], NULL);
  EXPECT(!bad);
  struct timeval day;
  struct timespec real, resolution;
  EXPECT(!gettimeofday(&day, NULL) && !clock_gettime(CLOCK_REALTIME, &real));
  EXPECT(real.tv_sec - day.tv_sec >= 0 && real.tv_sec - day.tv_sec < 100);
  const time_t seconds = time(NULL);  // it counts ticks, and may be one behind
  EXPECT(seconds - day.tv_sec >= -1 && seconds - day.tv_sec < 100);
  EXPECT(!clock_getres(CLOCK_MONOTONIC, &resolution) && resolution.tv_sec == 0 && resolution.tv_nsec > 0);
  EXPECT(sched_getcpu() >= 0);
  EXPECT(reading(CLOCK_MONOTONIC) > start);
  return ok();
}
