/* Loaded into ninja by `remote ninja` (LD_PRELOAD): ninja runs every command with /bin/sh and has no way to say otherwise
 * (src/subprocess-posix.cc), so its posix_spawn(3) starts $REMOTE_NINJA_SHELL in its place. In ninja alone: what it
 * starts finds the LD_PRELOAD that was there before. */
#include <dlfcn.h>
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>

static const char* shell;

__attribute__((constructor)) static void begin(void) {
  shell = getenv("REMOTE_NINJA_SHELL");
  if (shell != NULL) shell = strdup(shell);
  const char* before = getenv("REMOTE_NINJA_PRELOAD");
  if (before != NULL && *before != '\0')
    setenv("LD_PRELOAD", before, 1);
  else
    unsetenv("LD_PRELOAD");
  unsetenv("REMOTE_NINJA_SHELL");
  unsetenv("REMOTE_NINJA_PRELOAD");
}

typedef int Spawn(pid_t*, const char*, const posix_spawn_file_actions_t*, const posix_spawnattr_t*, char* const[],
                  char* const[]);

int posix_spawn(pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions, const posix_spawnattr_t* attributes,
                char* const arguments[], char* const environment[]) {
  Spawn* real;
  *(void**)&real = dlsym(RTLD_NEXT, "posix_spawn");
  if (real == NULL) return ENOSYS;
  if (shell != NULL && strcmp(path, "/bin/sh") == 0) path = shell;
  return real(pid, path, actions, attributes, arguments, environment);
}
