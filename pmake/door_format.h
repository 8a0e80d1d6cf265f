#pragma once

#include <cstdint>

/// What the recipes' shell (door_shell.cc) and its pmake (visitor.h) say to each other over
/// $REMOTE_MAKE.door, a unix stream socket. Included by a program without a C library: no other
/// headers.
///
/// Constraints: the shell is started once per recipe line, so it must be able to speak without
/// allocating, and its strings must go out as they lie in its memory. Both ends are on one machine
/// and of one version of hob: machine byte order, and kMark changes with the format. Rejected:
/// protobuf (its static initialisers alone cost more than this shell does), passing descriptors
/// (pmake would wait for who reads the recipe's output).
///
/// The shell begins: a Request, `directory_size` bytes of its directory, `strings_size` bytes of
/// its arguments and its environment, each with its zero byte. After that it says nothing but
/// Signals. It gets Words, each followed by `value` bytes if it is `out` or `err`; the first of the
/// others is the last word. Whoever loses the connection before that fails the recipe.
namespace hob::pmake::door {

inline constexpr uint32_t kMark = 0x31726f64;  // "dor1"
inline constexpr unsigned kLimits = 16;        // RLIM_NLIMITS

/// What the shell gives when the connection broke: hob itself failed, as cli::kRunFailed.
inline constexpr int kFailed = 125;

/// How the paths end by which make knows the shell (recipe.h). ninja calls it by the name of the
/// one that it thinks to start.
inline constexpr const char* kShellPaths[] = {"/recipe/sh", "/recipe/any"};

struct Limit {
  uint64_t soft, hard;
};
struct Request {
  uint32_t mark;
  uint32_t arguments;       ///< number of strings, argv[0] included
  uint32_t environment;     ///< number of strings
  uint32_t directory_size;  ///< without a zero byte; absolute
  uint32_t strings_size;
  uint32_t umask;
  Limit limits[kLimits];  ///< by resource
};

/// The shell was sent a signal of that number.
struct Signal {
  uint32_t number;
};

enum class Kind : uint32_t {
  none,
  whole,   ///< be the whole shell (shell_main.cc): this one cannot do it
  here,    ///< be the makefile's own shell, outside of the build's machinery
  inside,  ///< the same with the build's machinery: its line is a make
  out,     ///< `value` bytes for stdout follow
  err,     ///< for stderr
  exit,    ///< with status `value`
  die,     ///< of signal `value`, as the job did
};
struct Word {
  Kind kind;
  uint32_t value;
};

}  // namespace hob::pmake::door
