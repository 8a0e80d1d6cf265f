/* Shared memory, semaphores and queues of System V with their ids, keys and contents; POSIX shared memory and
 * semaphores by name. */
#include "victim.h"
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
enum { SIZE = 300000, KEY = 0x4711 };
struct letter { long type; char text[100]; };
static int wakened;
static void* waiter(void* set) {
  struct sembuf down = {1, -1, 0};
  wakened = semop(*(int*)set, &down, 1) == 0;
  return NULL;
}
int main(void) {
  int named = shmget(KEY, SIZE, IPC_CREAT | IPC_EXCL | 0640);
  int unused = shmget(IPC_PRIVATE, 5000, 0600);
  EXPECT(unused >= 0 && !shmctl(unused, IPC_RMID, NULL)); /* so that ids are not 0, 1, 2 */
  int removed = shmget(IPC_PRIVATE, SIZE, 0600), alone = shmget(IPC_PRIVATE, SIZE, 0600);
  EXPECT(named >= 0 && removed >= 0 && alone >= 0);
  char *a = shmat(named, NULL, 0), *b = shmat(removed, NULL, 0), *c = shmat(alone, NULL, 0);
  char* twice = shmat(named, NULL, SHM_RDONLY);
  EXPECT(a != (void*)-1 && b != (void*)-1 && c != (void*)-1 && twice != (void*)-1);
  EXPECT(!shmctl(removed, IPC_RMID, NULL));
  strcpy(a, "by key"), strcpy(a + SIZE - 10, "the end"), strcpy(b + 100000, "nameless"), strcpy(c, "alone");
  EXPECT(!shmdt(c));
  int set = semget(KEY, 3, IPC_CREAT | 0600);
  EXPECT(set >= 0 && !semctl(set, 0, SETVAL, 7) && !semctl(set, 2, SETVAL, 32000));
  int queue = msgget(KEY, IPC_CREAT | 0600);
  struct letter letter = {3, "first"};
  EXPECT(queue >= 0 && !msgsnd(queue, &letter, sizeof letter.text, 0));
  letter.type = 1, strcpy(letter.text, "second");
  EXPECT(!msgsnd(queue, &letter, 20, 0));
  int posix = shm_open("/victim", O_RDWR | O_CREAT | O_EXCL, 0600), gone = shm_open("/gone", O_RDWR | O_CREAT, 0600);
  EXPECT(posix >= 0 && gone >= 0 && !ftruncate(posix, SIZE) && !ftruncate(gone, SIZE) && !shm_unlink("/gone"));
  char* p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, posix, 0);
  char* q = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, gone, 0);
  EXPECT(p != MAP_FAILED && q != MAP_FAILED);
  strcpy(p + 50000, "posix"), strcpy(q, "unlinked");
  close(posix);
  sem_t* sem = sem_open("/victim", O_CREAT | O_EXCL, 0600, 2);
  EXPECT(sem != SEM_FAILED);
  pid_t child = fork();
  if (child == 0) {
    EXPECT(!sem_post(sem));
    while (strcmp(a, "for the child")) usleep(1000);
    strcpy(b, "from the child");
    strcpy(p, "from the child too");
    _exit(0);
  }
  pthread_t thread;
  EXPECT(!pthread_create(&thread, NULL, waiter, &set));
  usleep(50000);
  EXPECT(!mprotect(b, 4096, PROT_READ));
  struct shmid_ds info;
  ready();
  wait_for_go();
  EXPECT(!strcmp(a, "by key") && !strcmp(a + SIZE - 10, "the end") && !strcmp(b + 100000, "nameless"));
  EXPECT(shmget(KEY, SIZE, 0) == named && !shmctl(named, IPC_STAT, &info));
  EXPECT(info.shm_nattch == 4 && info.shm_segsz == SIZE && (info.shm_perm.mode & 0777) == 0640);
  EXPECT(info.shm_perm.uid == getuid() && info.shm_perm.cuid == getuid());
  EXPECT(!shmctl(removed, IPC_STAT, &info) && info.shm_perm.mode & SHM_DEST);
  c = shmat(alone, NULL, 0);
  EXPECT(c != (void*)-1 && !strcmp(c, "alone"));
  int null = open("/dev/zero", O_RDONLY);
  EXPECT(read(null, b, 1) == -1 && errno == EFAULT && read(null, b + 4096, 1) == 1);
  strcpy(a, "for the child");
  EXPECT(!strcmp(twice, "for the child"));
  int status;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
  EXPECT(!strcmp(b, "from the child") && !strcmp(p, "from the child too") && !strcmp(p + 50000, "posix"));
  EXPECT(!strcmp(q, "unlinked"));
  EXPECT(!shmdt(b) && shmctl(removed, IPC_STAT, &info) == -1 && errno == EINVAL);
  EXPECT(semget(KEY, 3, 0) == set && semctl(set, 0, GETVAL) == 7 && semctl(set, 2, GETVAL) == 32000);
  EXPECT(!semctl(set, 1, SETVAL, 1) && !pthread_join(thread, NULL) && wakened);
  EXPECT(msgget(KEY, 0) == queue);
  EXPECT(msgrcv(queue, &letter, sizeof letter.text, 1, 0) == 20 && !strcmp(letter.text, "second"));
  EXPECT(msgrcv(queue, &letter, sizeof letter.text, 0, 0) == 100 && !strcmp(letter.text, "first"));
  posix = shm_open("/victim", O_RDWR, 0);
  char* again = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, posix, 0);
  EXPECT(posix >= 0 && again != MAP_FAILED && !strcmp(again + 50000, "posix"));
  again[1] = 'X';
  EXPECT(p[1] == 'X');
  sem_t* same = sem_open("/victim", 0);
  int value;
  EXPECT(same != SEM_FAILED && !sem_getvalue(same, &value) && value == 3);
  EXPECT(!sem_post(same) && !sem_getvalue(sem, &value) && value == 4);
  EXPECT(shm_open("/gone", O_RDWR, 0) == -1 && errno == ENOENT);
  EXPECT(!shmctl(named, IPC_RMID, NULL) && !shmctl(alone, IPC_RMID, NULL) && !semctl(set, 0, IPC_RMID));
  return ok();
}
