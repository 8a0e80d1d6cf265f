/* Mappings of files that have changed since: rewritten, grown, shrunk, gone; and what lies beyond their end. */
#include "victim.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
enum { PAGES = 8, SIZE = PAGES * 4096 };
static sigjmp_buf back;
static void on_bus(int signal) { siglongjmp(back, signal); }
static int beyond(volatile char* at) {
  if (sigsetjmp(back, 1)) return 1;
  (void)*at;
  return 0;
}
static char path[5][32];
static int make(int which) {
  char page[4096];
  strcpy(path[which], "/tmp/victim.XXXXXX");
  int fd = mkstemp(path[which]);
  EXPECT(fd >= 0);
  for (int i = 0; i < PAGES; i++) {
    memset(page, 'a' + i, sizeof page);
    EXPECT(write(fd, page, sizeof page) == sizeof page);
  }
  return fd;
}
static char* map(int fd, int flags) {
  char* at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, flags, fd, 0);
  EXPECT(at != MAP_FAILED);
  return at;
}
static void shrunk(char* at, int changed) {
  EXPECT(at[0] == 'a' && at[2 * 4096] == changed);
  EXPECT(at[3 * 4096] == 'd' && at[3 * 4096 + 99] == 'd' && at[3 * 4096 + 100] == 0);
  EXPECT(beyond(at + 4 * 4096) && beyond(at + 7 * 4096));
}
int main(void) {
  signal(SIGBUS, on_bus);
  int rewritten = make(0), short_one = make(1), gone = make(2), grown = make(3);
  int memory = memfd_create("victim", 0);
  EXPECT(memory >= 0 && !ftruncate(memory, SIZE));
  char* r = map(rewritten, MAP_PRIVATE);
  r[4096] = 'R';
  EXPECT(pwrite(rewritten, "new", 3, 0) == 3 && pwrite(rewritten, "new", 3, 4096) == 3);
  char *p = map(short_one, MAP_PRIVATE), *s = map(short_one, MAP_SHARED);
  p[2 * 4096] = 'P', p[6 * 4096] = 'P';
  EXPECT(!ftruncate(short_one, 3 * 4096 + 100));
  char *g = map(gone, MAP_PRIVATE), *h = map(gone, MAP_SHARED);
  g[2 * 4096] = 'G';
  EXPECT(!ftruncate(gone, 3 * 4096 + 100) && !unlink(path[2]));
  char* w = mmap(NULL, 2 * SIZE, PROT_READ, MAP_SHARED, grown, 0);
  EXPECT(w != MAP_FAILED && beyond(w + SIZE));
  EXPECT(!ftruncate(grown, 2 * SIZE) && pwrite(grown, "grown", 5, SIZE) == 5);
  char* m = map(memory, MAP_SHARED);
  m[0] = 'M', m[5 * 4096] = 'M';
  EXPECT(!ftruncate(memory, 4096));
  close(short_one), close(memory), close(gone);
  ready();
  wait_for_go();
  EXPECT(!memcmp(r, "new", 3) && r[3] == 'a' && r[4096] == 'R' && r[4097] == 'b');
  EXPECT(pwrite(rewritten, "again", 5, 2 * 4096) == 5 && !memcmp(r + 2 * 4096, "again", 5) && r[4096] == 'R');
  shrunk(p, 'P'), shrunk(s, 'c'), shrunk(g, 'G'), shrunk(h, 'c');
  EXPECT((short_one = open(path[1], O_RDWR)) >= 0 && !ftruncate(short_one, SIZE));
  EXPECT(s[5 * 4096] == 0 && p[6 * 4096] == 0);
  s[5 * 4096] = 'S';
  EXPECT(p[5 * 4096] == 'S');
  EXPECT(!memcmp(w + SIZE, "grown", 5) && w[SIZE - 1] == 'h' && !beyond(w + 2 * SIZE - 1));
  EXPECT(m[0] == 'M' && beyond(m + 4096) && beyond(m + 5 * 4096));
  for (int i = 0; i < 4; i++) unlink(path[i]);
  return ok();
}
