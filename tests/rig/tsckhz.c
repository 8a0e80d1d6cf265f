/* Prints the frequency of this machine's time-stamp counter in kHz, for the kernels inside: QEMU without KVM
   hands them this counter, and their own measurement of it goes wrong while the machine is busy. */
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

/* Counter and clock, read as close to each other as 50 attempts allow. */
static double read_both(unsigned long long* counter) {
  double closest = 1e18, seconds = 0;
  for (int i = 0; i < 50; i++) {
    struct timespec now;
    unsigned long long before = __rdtsc(), after;
    clock_gettime(CLOCK_MONOTONIC, &now);
    after = __rdtsc();
    if ((double)(after - before) >= closest) continue;
    closest = (double)(after - before);
    *counter = before + (after - before) / 2;
    seconds = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
  }
  return seconds;
}

int main(void) {
  unsigned long long from, to;
  const struct timespec pause = {0, 300000000};
  double begin = read_both(&from), end;
  nanosleep(&pause, 0);
  end = read_both(&to);
  printf("%.0f\n", (double)(to - from) / (end - begin) / 1e3);
  return 0;
}
