/* Mappings of files: private with changed pages, shared and written through. */
#include "victim.h"
#include <fcntl.h>
#include <sys/mman.h>
int main(void) {
  char path[] = "/tmp/victim.XXXXXX", buffer[4096];
  int fd = mkstemp(path);
  for (int i = 0; i < 16; i++) {
    memset(buffer, 'a' + i, sizeof buffer);
    EXPECT(write(fd, buffer, sizeof buffer) == sizeof buffer);
  }
  char* private_ = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  char* shared = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 8 * 4096);
  EXPECT(private_ != MAP_FAILED && shared != MAP_FAILED);
  private_[3 * 4096] = 'X';
  shared[0] = 'Y';
  close(fd);
  ready();
  wait_for_go();
  EXPECT(private_[0] == 'a' && private_[3 * 4096] == 'X' && private_[3 * 4096 + 1] == 'd');
  EXPECT(shared[0] == 'Y' && shared[1] == 'i');
  shared[4096] = 'Z';
  fd = open(path, O_RDONLY);
  EXPECT(pread(fd, buffer, 2, 8 * 4096) == 2 && buffer[0] == 'Y');
  EXPECT(pread(fd, buffer, 1, 9 * 4096) == 1 && buffer[0] == 'Z');
  EXPECT(pread(fd, buffer, 1, 3 * 4096) == 1 && buffer[0] == 'd');
  unlink(path);
  return ok();
}
