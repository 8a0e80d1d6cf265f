/* Holds one thing that cannot be moved, and goes on with it. */
#include "victim.h"
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/inotify.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
static int waits(void* nothing) {
  (void)nothing;
  for (;;) pause();
  return 0;
}
int main(int argc, char** argv) {
  const char* what = argc > 1 ? argv[1] : "";
  int fd = -1;
  pid_t sharer = 0;
  char path[] = "/tmp/victim.XXXXXX";
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
  if (!strcmp(what, "connection") || !strcmp(what, "closed")) { /* of a server outside */
    server.sin_port = htons((in_port_t)atoi(argv[2]));
    EXPECT((fd = socket(AF_INET, SOCK_STREAM, 0)) >= 0 && !connect(fd, (struct sockaddr*)&server, sizeof server));
  }
  if (!strcmp(what, "unaccepted")) {
    socklen_t length = sizeof server;
    EXPECT((fd = socket(AF_INET, SOCK_STREAM, 0)) >= 0 && !bind(fd, (struct sockaddr*)&server, sizeof server));
    EXPECT(!listen(fd, 1) && !getsockname(fd, (struct sockaddr*)&server, &length));
    EXPECT(!connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr*)&server, sizeof server));
  }
  if (!strcmp(what, "address")) { /* of this host alone, if of any */
    int on = 1;
    server.sin_addr.s_addr = htonl(0xc0000201);
    EXPECT((fd = socket(AF_INET, SOCK_STREAM, 0)) >= 0 && !setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof on));
    EXPECT(!bind(fd, (struct sockaddr*)&server, sizeof server) && !listen(fd, 1));
  }
  if (!strcmp(what, "urgent") || !strcmp(what, "datagram")) {
    socklen_t length = sizeof server;
    int type = !strcmp(what, "urgent") ? SOCK_STREAM : SOCK_DGRAM, other;
    EXPECT((fd = socket(AF_INET, type, 0)) >= 0 && (other = socket(AF_INET, type, 0)) >= 0);
    EXPECT( !bind(fd, (struct sockaddr*)&server, sizeof server));
    EXPECT((type == SOCK_DGRAM || !listen(fd, 1)) && !getsockname(fd, (struct sockaddr*)&server, &length));
    EXPECT(!connect(other, (struct sockaddr*)&server, sizeof server));
    if (type == SOCK_STREAM) EXPECT(accept(fd, NULL, NULL) >= 0);
    EXPECT(send(other, "!", 1, type == SOCK_STREAM ? MSG_OOB : 0) == 1);
  }
  if (!strcmp(what, "netlink")) fd = socket(AF_NETLINK, SOCK_RAW, 0);
  if (!strcmp(what, "device")) fd = open(argv[2], O_RDWR);
  if (!strcmp(what, "environment")) fd = open("/proc/self/environ", O_RDONLY);
  if (!strcmp(what, "directory")) {
    char directory[] = "/tmp/victim.XXXXXX";
    EXPECT(mkdtemp(directory));
    fd = open(directory, O_RDONLY);
    EXPECT(!chdir(directory) && !rmdir(directory));
  }
  if (!strcmp(what, "table")) {
    static char stack[16384];
    fd = dup(0);
    sharer = clone(waits, stack + sizeof stack, CLONE_FILES | SIGCHLD, NULL);
    EXPECT(sharer > 0);
  }
  if (!strcmp(what, "filter")) { /* one that asks another process, which has gone */
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, code};
    int listener;
    EXPECT(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    EXPECT((listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program)) >= 0);
    EXPECT(!close(listener) && (fd = dup(0)) >= 0);
  }
  if (!strcmp(what, "fifo")) fd = open(argv[2], O_RDWR);
  int pair[2];
  if (!strcmp(what, "empty")) {
    EXPECT(!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) && send(pair[1], "", 0, 0) == 0);
    fd = pair[0];
  }
  if (!strcmp(what, "inotify")) {
    fd = inotify_init();
    EXPECT(inotify_add_watch(fd, "/tmp", IN_ATTRIB) == 1 && !inotify_rm_watch(fd, 1));
  }
  if (!strcmp(what, "waiting")) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0victim.waiting"};
    socklen_t length = sizeof(sa_family_t) + 15;
    EXPECT((fd = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0 && !bind(fd, (struct sockaddr*)&address, length));
    EXPECT(!listen(fd, 1) && !connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr*)&address, length));
  }
  if (!strcmp(what, "outside")) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, argv[2], sizeof address.sun_path - 1);
    EXPECT((fd = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
    EXPECT(!connect(fd, (struct sockaddr*)&address, sizeof address));
  }
  if (!strcmp(what, "descriptors")) {
    EXPECT(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    fd = pair[0];
    char byte = 'x', control[CMSG_SPACE(sizeof(int))];
    struct iovec bytes = {&byte, 1};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    EXPECT(sendmsg(pair[1], &message, 0) == 1);
  }
  if (!strcmp(what, "credentials")) {
    int on = 1;
    EXPECT(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair) && !setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    EXPECT(write(pair[1], "x", 1) == 1);
    fd = pair[0];
  }
  if (!strcmp(what, "lease")) { fd = mkstemp(path); EXPECT(!fcntl(fd, F_SETLEASE, F_WRLCK)); }
  char* shared = MAP_FAILED;
  if (!strcmp(what, "sysv")) {
    int id = shmget(IPC_PRIVATE, 8192, 0600);
    EXPECT(id >= 0);
    shared = shmat(id, NULL, 0);
    EXPECT(shared != MAP_FAILED);
    EXPECT(!shmctl(id, IPC_RMID, NULL) && !munmap(shared + 4096, 4096));
    shared[0] = 's';
  } else {
    EXPECT(fd == 3);
  }
  ready();
  wait_for_go();
  if (shared != MAP_FAILED) EXPECT(shared[0] == 's');
  else EXPECT(fcntl(fd, F_GETFD) >= 0);
  if (!strcmp(what, "lease")) unlink(path);
  if (sharer > 0) EXPECT(!kill(sharer, SIGKILL));
  return ok();
}
