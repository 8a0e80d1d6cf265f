/* What has no path and is shared: anonymous memory between parent and child, memfd, deleted files, a mapped file that
 * has been replaced. */
#include "victim.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_GET_SEALS 1034
#endif
enum { MEG = 1 << 20, SHARED = 8 * MEG };
int main(void) {
  /* 1: pages that only the parent, only the child, and only a dead child have touched. */
  unsigned char* shared = mmap(NULL, SHARED, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  EXPECT(shared != MAP_FAILED);
  memset(shared, 1, MEG);
  pid_t dead = fork();
  if (dead == 0) {
    memset(shared + 3 * MEG, 3, MEG);
    _exit(0);
  }
  EXPECT(waitpid(dead, NULL, 0) == dead);
  volatile unsigned char* turn = shared + SHARED - 1;
  pid_t child = fork();
  if (child == 0) {
    memset(shared + 2 * MEG, 2, MEG);
    *turn = 1;
    while (*turn != 2) usleep(1000);
    /* after the moves: what the parent writes is seen here, and the other way */
    if (shared[0] != 9 || shared[2 * MEG + 77] != 2 || shared[3 * MEG + 77] != 3 || shared[5 * MEG] != 0) _exit(2);
    shared[4 * MEG] = 44;
    _exit(0);
  }
  while (*turn != 1) usleep(1000);

  /* 2: a memfd with seals, mapped twice, and at an offset. */
  int m = memfd_create("victim's", MFD_ALLOW_SEALING);
  EXPECT(m >= 0 && !ftruncate(m, 3 * 4096));
  EXPECT(pwrite(m, "first", 5, 0) == 5 && pwrite(m, "third", 5, 2 * 4096) == 5);
  EXPECT(!fcntl(m, F_ADD_SEALS, 2 /* SHRINK */));
  char* once = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, m, 0);
  char* again = mmap(NULL, 4096, PROT_READ, MAP_SHARED, m, 2 * 4096);
  char* private = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, m, 0);
  EXPECT(once != MAP_FAILED && again != MAP_FAILED && private != MAP_FAILED);
  strcpy(private + 4096, "mine");

  /* 3: a deleted file, with an offset, in append mode by another description, and with a hole. */
  char path[] = "/tmp/victim.XXXXXX";
  int f = mkstemp(path);
  EXPECT(f >= 0 && write(f, "hello", 5) == 5 && pwrite(f, "far", 3, 5 * MEG) == 3);
  int appending = open(path, O_WRONLY | O_APPEND);
  char* mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
  EXPECT(appending >= 0 && mapped != MAP_FAILED);
  unlink(path);

  /* 4: a file mapped privately and replaced by another of the same name since. */
  char other[] = "/tmp/victim.XXXXXX";
  int r = mkstemp(other);
  EXPECT(r >= 0 && write(r, "old content", 11) == 11);
  char* old = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, r, 0);
  EXPECT(old != MAP_FAILED);
  close(r);
  char fresh[64];
  snprintf(fresh, sizeof fresh, "%s.new", other);
  r = open(fresh, O_CREAT | O_WRONLY, 0600);
  EXPECT(r >= 0 && write(r, "NEW", 3) == 3 && !rename(fresh, other) && !close(r));
  ready();
  wait_for_go();

  EXPECT(shared[0] == 1 && shared[MEG - 1] == 1 && shared[2 * MEG] == 2 && shared[3 * MEG] == 3 && shared[6 * MEG] == 0);
  shared[0] = 9;
  *turn = 2;
  int status;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
  EXPECT(shared[4 * MEG] == 44);

  char text[8] = "";
  EXPECT(!strcmp(once, "first") && !strcmp(again, "third") && !strcmp(private + 4096, "mine"));
  EXPECT(!strcmp(private, "first"));
  memcpy(once + 2 * 4096, "THIRD", 5);
  EXPECT(!strcmp(again, "THIRD") && pread(m, text, 5, 2 * 4096) == 5 && !strcmp(text, "THIRD"));
  EXPECT(fcntl(m, F_GET_SEALS) == 2 && ftruncate(m, 0) == -1 && errno == EPERM);

  EXPECT(lseek(f, 0, SEEK_CUR) == 5);
  struct stat st;
  EXPECT(!fstat(f, &st) && st.st_size == 5 * MEG + 3 && st.st_nlink == 0);
  EXPECT(write(appending, "!", 1) == 1 && !fstat(f, &st) && st.st_size == 5 * MEG + 4);
  EXPECT(pread(f, text, 5, 0) == 5 && !memcmp(text, "hello", 5));
  mapped[0] = 'J';
  EXPECT(pread(f, text, 5, 0) == 5 && !memcmp(text, "Jello", 5));
  EXPECT(pread(f, text, 4, 5 * MEG) == 4 && !memcmp(text, "far!", 4));

  EXPECT(!strcmp(old, "old content"));
  unlink(other);
  return ok();
}
