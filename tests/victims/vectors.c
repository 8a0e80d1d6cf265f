/* Wide registers live across the move: AVX, AVX-512 and AMX where the processor has them. */
#include "victim.h"
#include <immintrin.h>
#include <sys/syscall.h>
static int tiles_allowed(void) { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }
__attribute__((target("avx"), noinline)) static void avx(void) {
  double a[4] = {1.5, 2.5, 3.5, 4.5}, b[4];
  __asm__ volatile("vmovupd %1, %%ymm9\n" : : "r"(0), "m"(a) : "xmm9");
  ready();
  char c;
  long n;
  do { __asm__ volatile("syscall" : "=a"(n) : "a"(0), "D"(0), "S"(&c), "d"(1) : "rcx", "r11", "memory"); } while (n == 1 && c != '\n');
  __asm__ volatile("vmovupd %%ymm9, %0\n" : "=m"(b));
  EXPECT(!memcmp(a, b, sizeof a));
}
__attribute__((target("avx512f,avx512bw"), noinline)) static void avx512(void) {
  uint64_t a[8] = {1, 2, 3, 4, 5, 6, 7, 8}, b[8];
  uint64_t k = 0x123456789abcdef, l;
  __asm__ volatile("vmovdqu64 %0, %%zmm27\n kmovq %1, %%k3" : : "m"(a), "r"(k));
  ready();
  char c;
  long n;
  do { __asm__ volatile("syscall" : "=a"(n) : "a"(0), "D"(0), "S"(&c), "d"(1) : "rcx", "r11", "memory"); } while (n == 1 && c != '\n');
  __asm__ volatile("vmovdqu64 %%zmm27, %0\n kmovq %%k3, %1" : "=m"(b), "=r"(l));
  EXPECT(!memcmp(a, b, sizeof a) && k == l);
}
__attribute__((target("amx-tile"), noinline)) static void amx(void) {
  struct { uint8_t palette, row, pad[14]; uint16_t bytes[16]; uint8_t rows[16]; } cfg = {.palette = 1};
  static uint8_t in[1024], out[1024];
  for (int i = 0; i < 8; i++) { cfg.bytes[i] = 64; cfg.rows[i] = 16; }
  for (int i = 0; i < 1024; i++) in[i] = (uint8_t)(i * 31);
  __asm__ volatile("ldtilecfg %0" : : "m"(cfg));
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm3" : : "r"(in), "r"(64l) : "memory");
  ready();
  char c;
  long n;
  do { __asm__ volatile("syscall" : "=a"(n) : "a"(0), "D"(0), "S"(&c), "d"(1) : "rcx", "r11", "memory"); } while (n == 1 && c != '\n');
  __asm__ volatile("tilestored %%tmm3, (%0,%1,1)" : : "r"(out), "r"(64l) : "memory");
  EXPECT(!memcmp(in, out, 1024));
  __asm__ volatile("tilerelease");
}
int main(int argc, char** argv) {
  const char* which = argc > 1 ? argv[1] : "avx";
  __builtin_cpu_init();
  if (!strcmp(which, "avx") && __builtin_cpu_supports("avx")) avx();
  else if (!strcmp(which, "avx512") && __builtin_cpu_supports("avx512bw")) avx512();
  else if (!strcmp(which, "amx") && tiles_allowed()) amx();
  else { ready(); printf("not here\n"); wait_for_go(); }
  return ok();
}
