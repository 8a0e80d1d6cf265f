/* Never two moments alike: files are opened and closed, mappings, changed pages of a file, pipes'
 * bytes, positions, threads and children come and go, all the time while it is moved. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "victim.h"
enum { PAGES = 8 };
static char path[] = "/tmp/victim.XXXXXX";
static void* come_and_go(void* count) {
  usleep(300);
  __atomic_add_fetch((int*)count, 1, __ATOMIC_RELAXED);
  return NULL;
}
static int told_to_go(void) {
  struct pollfd p = {0, POLLIN, 0};
  return poll(&p, 1, 0) == 1;
}
int main(void) {
  char page[4096];
  const int fd = mkstemp(path), events = eventfd(0, EFD_NONBLOCK);
  EXPECT(fd >= 0 && events >= 0);
  for (int i = 0; i < PAGES; i++) {
    memset(page, 'a' + i, sizeof page);
    EXPECT(write(fd, page, sizeof page) == sizeof page);
  }
  char* copy = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  int ends[2], threads = 0;
  EXPECT(copy != MAP_FAILED && pipe(ends) == 0);
  char* grown = NULL;
  ready();
  for (int round = 0; !told_to_go(); round++) {
    const int i = round % PAGES;
    const char mark = (char)('A' + round % 26);
    /* A changed page of the file, every other time back to what the file has. */
    EXPECT(copy[i * 4096 + 1] == 'a' + i);
    copy[i * 4096] = mark;
    EXPECT(lseek(fd, i * 4096 + 7, SEEK_SET) == i * 4096 + 7);
    const int another = round % 3 ? open(path, O_RDONLY) : dup(fd);
    EXPECT(another >= 0);
    const uint64_t more = (uint64_t)round + 1;
    uint64_t counted = 0;
    EXPECT(write(events, &more, sizeof more) == sizeof more);
    EXPECT(write(ends[1], &round, sizeof round) == sizeof round);
    const size_t size = (size_t)(round % 5 + 1) * 4096;
    grown = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(grown != MAP_FAILED);
    memset(grown, mark, size);
    pthread_t thread;
    const int with_thread = round % 4 == 0;
    if (with_thread) EXPECT(pthread_create(&thread, NULL, come_and_go, &threads) == 0);
    const pid_t child = round % 16 == 0 ? fork() : -1;
    if (child == 0) _exit(round % 100);
    usleep(200);
    int read_back = -1, status = 0;
    EXPECT(child < 0 ||
           (waitpid(child, &status, 0) == child && WEXITSTATUS(status) == round % 100));
    if (with_thread) EXPECT(pthread_join(thread, NULL) == 0 && threads == round / 4 + 1);
    EXPECT(grown[0] == mark && grown[size - 1] == mark && munmap(grown, size) == 0);
    EXPECT(read(ends[0], &read_back, sizeof read_back) == sizeof read_back && read_back == round);
    EXPECT(read(events, &counted, sizeof counted) == sizeof counted && counted == more);
    EXPECT(pread(another, page, 2, i * 4096) == 2 && page[1] == 'a' + i);
    EXPECT(read(fd, page, 1) == 1 && page[0] == 'a' + i);
    EXPECT(close(another) == 0);
    EXPECT(copy[i * 4096] == mark && copy[i * 4096 + 1] == 'a' + i);
    if (round % 2) {
      EXPECT(madvise(copy + i * 4096, 4096, MADV_DONTNEED) == 0);
      EXPECT(copy[i * 4096] == 'a' + i);
    }
  }
  wait_for_go();
  unlink(path);
  return ok();
}
