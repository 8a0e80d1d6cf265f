/* What the victims share: they know nothing of hob. A victim sets something up, says "ready", waits
 * for a line on its standard input, looks whether everything still is as it was, and says "ok". */
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPECT(condition)                                                     \
  do {                                                                        \
    if (!(condition)) {                                                       \
      printf("FAILED line %d: %s (errno %d)\n", __LINE__, #condition, errno); \
      fflush(stdout);                                                         \
      exit(1);                                                                \
    }                                                                         \
  } while (0)

static inline void ready(void) {
  printf("ready\n");
  fflush(stdout);
}
static inline void wait_for_go(void) {
  char line[64];
  EXPECT(fgets(line, sizeof line, stdin) != NULL);
  EXPECT(strcmp(line, "go\n") == 0);
}
static inline int ok(void) {
  printf("ok\n");
  fflush(stdout);
  return 0;
}
