#pragma once

#include <stdint.h>

/* What a program that is moved and the benchmark that moves it share: a file that both map. One
 * slot per process. Only the process writes to its slot, but for `asked`. */

enum { TICK_SAMPLES = 15000, TICK_GAPS = 256, TICK_SLOT_SIZE = 65536 };

struct tick_gap {
  uint64_t length_ns; /* on its CLOCK_MONOTONIC */
  uint64_t end_ns;    /* CLOCK_REALTIME */
};

struct tick_slot {
  uint64_t ready;        /* 1: set up, ticks */
  uint64_t pid;          /* as it sees itself */
  uint64_t ticks;        /* how often it has looked at its clock */
  uint64_t asked;        /* the benchmark counts up: begin anew */
  uint64_t begun;        /* == asked: has begun anew */
  uint64_t worst_ns;     /* longest time between two ticks since then, on its CLOCK_MONOTONIC */
  uint64_t worst_end_ns; /* when that ended, CLOCK_REALTIME */
  uint64_t touches;      /* pages touched since then */
  uint64_t faults;       /* of these, slow ones; the first TICK_SAMPLES are in fault_ns */
  uint32_t fault_ns[TICK_SAMPLES];
  uint64_t gaps; /* since then, of a fifth of a millisecond and more; the first TICK_GAPS: */
  struct tick_gap gap[TICK_GAPS];
};
