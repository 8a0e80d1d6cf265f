#pragma once

#include <asm/unistd.h>

#include <cstddef>
#include <initializer_list>

/// System calls and text without a C library, for door_shell.cc alone.
namespace hob::pmake::door {
namespace {

using Text = const char*;

constexpr long kEintr = 4, kEnoent = 2, kEpipe = 32;
constexpr long kSocketStream = 1, kCloseOnExec = 02000000, kNoSignal = 0x4000;
constexpr size_t kMostPointers = 8192, kMostWords = 32, kLongestPath = 4096;

long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
  return result;
}
long address(const void* pointer) {
  return reinterpret_cast<long>(pointer);
}

[[noreturn]] void leave(int status) {
  for (;;) call(__NR_exit_group, status);
}

size_t length(Text text) {
  size_t n = 0;
  while (text[n] != '\0') ++n;
  return n;
}

/// What follows `start` at `text`; null: it does not begin so.
Text after(Text text, Text start) {
  for (; *start != '\0'; ++text, ++start)
    if (*text != *start) return nullptr;
  return text;
}

Text find(Text text, Text what) {
  for (; *text != '\0'; ++text)
    if (Text rest = after(text, what)) return rest;
  return nullptr;
}

/// "" for one that is not there.
Text variable(char** environment, Text name_and_sign) {
  for (; *environment != nullptr; ++environment)
    if (Text value = after(*environment, name_and_sign)) return value;
  return "";
}

void say(Text first, Text second, Text third) {
  for (Text part : {"pmake: ", first, second, third, "\n"})
    call(__NR_write, 2, address(part), static_cast<long>(length(part)));
}

bool append(char* path, size_t& size, Text text) {
  for (; *text != '\0'; ++text) {
    if (size + 1 >= kLongestPath) return false;
    path[size++] = *text;
  }
  path[size] = '\0';
  return true;
}

}  // namespace
}  // namespace hob::pmake::door
