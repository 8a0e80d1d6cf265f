/* As many threads as it is told, each with a stack, a name and a value of its own, asleep on one condition. */
#include "victim.h"
#include <pthread.h>
#include <sys/syscall.h>
enum { MOST = 2000 };
static int count = 1000;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int here, go, good;
static __thread long mine;
static void* member(void* a) {
  long k = (long)a;
  char name[16], seen[16];
  volatile char deep[2048];
  deep[k % 2048] = (char)k;
  mine = syscall(SYS_gettid) * 3;
  sprintf(name, "member %ld", k);
  pthread_setname_np(pthread_self(), name);
  pthread_mutex_lock(&lock);
  here++;
  while (!go) pthread_cond_wait(&changed, &lock);
  pthread_getname_np(pthread_self(), seen, sizeof seen);
  good += mine == syscall(SYS_gettid) * 3 && !strcmp(name, seen) && deep[k % 2048] == (char)k;
  pthread_mutex_unlock(&lock);
  return NULL;
}
int main(int argc, char** argv) {
  if (argc > 1) count = atoi(argv[1]);
  EXPECT(count > 0 && count <= MOST);
  static pthread_t t[MOST];
  pthread_attr_t small;
  EXPECT(!pthread_attr_init(&small) && !pthread_attr_setstacksize(&small, 64 << 10));
  for (long i = 0; i < count; i++) EXPECT(!pthread_create(&t[i], &small, member, (void*)i));
  for (int all = 0; !all; usleep(1000)) {
    pthread_mutex_lock(&lock);
    all = here == count;
    pthread_mutex_unlock(&lock);
  }
  ready();
  wait_for_go();
  pthread_mutex_lock(&lock);
  go = 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  for (int i = 0; i < count; i++) EXPECT(!pthread_join(t[i], NULL));
  EXPECT(good == count);
  return ok();
}
